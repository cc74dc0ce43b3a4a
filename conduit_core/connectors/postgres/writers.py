"""Who may still commit older rows: PostgreSQL's open transactions that write."""

from __future__ import annotations

from datetime import UTC, datetime

from conduit_core.connectors.postgres.connection import ServerConnection
from conduit_core.connectors.writes import OpenWrites

# A transaction counts once it has an id, or a lock to write with: statements take the lock before
# they write. System tables (oids below 16384) aside. Autovacuum has no user and writes no rows.
_WRITING = """
SELECT min(a.xact_start) AS since, count(*) FILTER (WHERE a.xact_start IS NULL) AS hidden,
       pg_is_in_recovery() AS is_replica, current_user AS me
FROM pg_stat_activity AS a
WHERE a.datname = current_database() AND a.usesysid IS NOT NULL AND a.pid <> pg_backend_pid()
  AND EXISTS (
    SELECT FROM pg_locks AS l
    WHERE l.pid = a.pid AND (
      (l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock')
      OR (l.locktype = 'relation' AND l.relation >= 16384 AND l.mode IN
          ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock'))))
"""

# A prepared transaction writes no more, so its locks say which tables it has written to.
_PREPARED = """
SELECT p.gid, p.prepared FROM pg_prepared_xacts AS p
WHERE p.database = current_database() AND EXISTS (
  SELECT FROM pg_locks AS x JOIN pg_locks AS l USING (virtualtransaction)
  WHERE x.pid IS NULL AND x.locktype = 'transactionid' AND x.transactionid = p.transaction
    AND l.pid IS NULL AND l.locktype = 'relation' AND l.mode = 'RowExclusiveLock'{only})
ORDER BY p.prepared LIMIT 1
"""


def open_writes(connection: ServerConnection, oid: int | None) -> OpenWrites:
    """Return since when the oldest transaction that writes is open, and what can't be known.

    Args:
        connection: to the database.
        oid: the table that the rows come from; None: a view or a query.
    """
    ((since, hidden, is_replica, me),) = connection.rows(_WRITING)
    notes = []
    if is_replica:
        notes.append(
            "the source is a replica, which doesn't show transactions that are open on the primary:"
            " rows that commit late are missed unless `settle` waits for them"
        )
    if isinstance(hidden, int) and hidden:
        notes.append(
            f"{hidden} transactions of other roles are writing and can't be looked at, so rows that"
            f" they commit late may be missed: GRANT pg_read_all_stats TO {me}, or set `settle`"
        )
    # A parent may get its rows through its partitions, which have locks of their own.
    parent = f"EXISTS (SELECT FROM pg_inherits WHERE inhparent = {oid or 0:d})"
    only = f" AND (l.relation = {oid:d} OR {parent})" if oid is not None else ""
    prepared = connection.rows(_PREPARED.format(only=only))
    for gid, at in prepared:
        when = at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if isinstance(at, datetime) else ""
        notes.append(
            f"transaction {gid!r}, prepared at {when}, has written and is open, and when it began"
            " isn't known: new rows wait for its COMMIT PREPARED or ROLLBACK PREPARED"
        )
    began = since if isinstance(since, datetime) else None
    return OpenWrites(began, bool(prepared), tuple(notes))
