"""What PostgreSQL and its driver complain of, as our errors; no secret comes through."""

from __future__ import annotations

import re

from conduit_core.connectors.postgres.options import CONNECT_TIMEOUT_SECONDS, PostgresOptions
from conduit_core.errors import (
    ConcurrentLoadError,
    ConduitError,
    ConnectionFailedError,
    PublishError,
    Retry,
    SchemaError,
    SourceDataError,
)

_LOST = re.compile(
    r"server closed the connection|connection to server was lost|no connection to the server"
    r"|connection not open|connection already closed|could not (?:receive|send) data"
    r"|SSL connection has been closed|Broken pipe|terminating connection|SSL SYSCALL error"
    r"|Connection reset by peer"
    # psycopg2 in the middle of a COPY, where the socket was closed before a word came
    r"|PGRES_COPY_(?:OUT|IN) and no message",
    re.IGNORECASE,
)
# Which sentence a refused connection gets, by what libpq or the server says; first match wins.
_REFUSALS: tuple[tuple[str, str, Retry], ...] = (
    (r"password authentication failed|no password supplied", "it refuses the password", "never"),
    (r'database "(?P<it>.*)" does not exist', "there is no database {it!r}", "never"),
    (r'role "(?P<it>.*)" does not exist', "there is no role {it!r}", "never"),
    (r"no pg_hba\.conf entry", "the server lets nobody in from here (pg_hba.conf)", "never"),
    (r"could not translate host name", "the host name is unknown", "step"),
    (r"Connection refused", "nothing answers there (connection refused)", "step"),
    (r"timeout expired|timed out", f"no answer within {CONNECT_TIMEOUT_SECONDS} s", "step"),
    (r"too many (?:clients|connections)|connection slots", "it has no free connection", "step"),
    (r"starting up|shutting down|recovery mode", "it is starting up or shutting down", "step"),
    (r"SSL|certificate", "the two sides don't agree on SSL (sslmode)", "never"),
    (r"No such file or directory", "no server listens on that socket", "step"),
    (r"is not permitted to log in", "the role may not log in", "never"),
    (r"permission denied for database", "the role may not connect to the database", "never"),
)  # fmt: skip


def connection_failed(error: Exception, options: PostgresOptions) -> ConnectionFailedError:
    """Return the error for a connection that couldn't be opened, with the cause in a sentence."""
    where, database = options.place()
    text = str(error)
    why, retry = next(
        (
            (sentence.format(**found.groupdict()), retry)
            for pattern, sentence, retry in _REFUSALS
            if (found := re.search(pattern, text))
        ),
        (scrub(_first_line(text), options), "step"),
    )
    return ConnectionFailedError(
        f"can't connect to PostgreSQL at {where}, database {database!r}: {why}",
        connector="postgres",
        retry=retry,
        command="conduit check",
    )


def snapshot_gone(snapshot: str) -> ConnectionFailedError:
    """Return the error for a snapshot that can't be read in any more."""
    return ConnectionFailedError(
        f"the source's snapshot {snapshot[:64]!r} is gone: the process that held it has ended, or"
        " it is of another database",
        connector="postgres",
        retry="plan",
        command="conduit run",
    )


def scrub(text: str, options: PostgresOptions) -> str:
    """Return the text without any spelling of the password."""
    for secret in options.secrets():
        text = text.replace(secret, "***")
    return text


def _first_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    line = lines[0] if lines else "no reason given"
    return re.sub(r"^[A-Z_]+: (\[libpq\] )?(Failed to connect: )?", "", line)


def sqlstate(error: BaseException) -> str:
    """Return the SQLSTATE the server gave, or ""."""
    return str(getattr(error, "sqlstate", None) or getattr(error, "pgcode", None) or "")


def primary(error: BaseException) -> str:
    """Return the server's own message, one line; the driver's first line where there is none."""
    details: list[tuple[str | bytes, bytes]] = getattr(error, "details", None) or []
    for key, value in details:
        if key in (b"PG_DIAG_MESSAGE_PRIMARY", "PG_DIAG_MESSAGE_PRIMARY"):
            return value.decode(errors="replace")
    if said := getattr(getattr(error, "diag", None), "message_primary", None):
        return str(said)
    if found := re.search(r"ERROR:\s+(.+)", str(error)):
        return found[1].strip()
    return _first_line(str(error))


def column_of(error: BaseException) -> str | None:
    """Return the column a COPY stumbled over, where the server's context names it."""
    found = re.search(
        r"COPY .+?, [^,]*\d+, \w+ (?P<column>[^\n]+?)(?:: [^\n]*)?(?:\n|\s*\. SQLSTATE|$)",
        str(error),
    )
    return found["column"].strip() if found else None


def is_lost(error: BaseException) -> bool:
    """Say whether the connection is gone (the statement's fate may be open)."""
    state = sqlstate(error)
    if state:
        return state.startswith("08") or state in ("57P01", "57P02", "57P03", "57P05")
    return _LOST.search(str(error)) is not None


def explain(error: Exception, *, where: str, relation: str | None = None) -> ConduitError:
    """Turn a driver's error during a load into ours.

    Args:
        error: what the driver raised.
        where: the database, without secrets.
        relation: the table that was written, or None.
    """
    if isinstance(error, ConduitError):
        return error
    if is_lost(error):
        return ConnectionFailedError(
            f"the connection to {where} was lost",
            connector="postgres",
            retry="step",
            command="conduit run",
        )
    state, said = sqlstate(error), primary(error)
    on = f" ({relation})" if relation else ""
    if state in _VALUES:
        column = column_of(error)
        return PublishError(
            f"{f'column {column!r}' if column else 'a value'}{on}: {_VALUES[state]};"
            f" the server says: {said}",
            connector="postgres",
            command="conduit plan",
        )
    if state in _STATES:
        kind, text, retry, command = _STATES[state]
        return kind(f"{text}{on}: {said}", connector="postgres", retry=retry, command=command)
    return PublishError(
        f"PostgreSQL refused{on}: {said}", connector="postgres", command="conduit check"
    )


_VALUES = {
    "22021": "a text holds a NUL character, which PostgreSQL can't store",
    "22001": "a text is longer than the column allows",
    "22003": "a number is out of the column's range",
    "22008": "a date or time is out of the column's range",
    "22P02": "a value isn't of the column's type",
    "22P05": "a JSON text holds an escaped NUL character, which jsonb can't store",
    "22007": "a value isn't a date or time",
    "22030": "a JSON object names a key twice",
}
_STATES: dict[str, tuple[type[ConduitError], str, Retry, str]] = {
    "55P03": (PublishError, "another session held a lock for too long", "step", "conduit run"),
    "57014": (PublishError, "the statement was cancelled", "step", "conduit run"),
    "25P03": (PublishError, "the session idled too long in its transaction", "step", "conduit run"),
    "53100": (PublishError, "the server's disk is full", "never", "conduit check"),
    "53200": (PublishError, "the server is out of memory", "step", "conduit run"),
    "53300": (ConnectionFailedError, "the server has no free connection", "step", "conduit run"),
    "42501": (PublishError, "the role lacks a right", "never", "conduit check"),
    "25006": (PublishError, "the server or the role is read-only", "never", "conduit check"),
    "40001": (PublishError, "the transaction collided with another", "step", "conduit run"),
    "40P01": (PublishError, "the transaction was in a deadlock", "step", "conduit run"),
    "42P01": (PublishError, "a table is gone since the plan", "plan", "conduit plan"),
    "3F000": (PublishError, "a schema is gone since the plan", "plan", "conduit plan"),
    "42703": (PublishError, "a column is gone since the plan", "plan", "conduit plan"),
    "42P07": (ConcurrentLoadError, "someone made the table since the plan", "plan", "conduit plan"),
    "2BP01": (PublishError, "something new depends on the table", "plan", "conduit plan"),
    "23502": (PublishError, "a column that must not be NULL got one", "never", "conduit plan"),
    "23503": (PublishError, "a foreign key doesn't hold", "never", "conduit plan"),
    "23505": (PublishError, "a unique key occurs twice", "never", "conduit plan"),
    "23514": (PublishError, "a check constraint doesn't hold", "never", "conduit plan"),
    "23P01": (PublishError, "an exclusion constraint doesn't hold", "never", "conduit plan"),
}  # fmt: skip


def explain_read(error: Exception, *, where: str, relation: str) -> ConduitError:
    """Turn a driver's error during a read into ours."""
    if isinstance(error, ConduitError):
        return error
    if is_lost(error):
        return ConnectionFailedError(
            f"the connection to {where} was lost while reading {relation}",
            connector="postgres",
            retry="step",
            command="conduit run",
        )
    state, said = sqlstate(error), primary(error)
    if state == "42501":
        schema = re.fullmatch(r"permission denied for schema (.+)", said)
        usage = f"GRANT USAGE ON SCHEMA {schema[1]}, " if schema else ""
        return ConnectionFailedError(
            f"{relation} can't be read: {said}; the right to mend it: {usage}GRANT SELECT ON"
            f" {relation}",
            connector="postgres",
            retry="never",
            command="conduit check",
        )
    if state in ("42P01", "42703", "3F000", "42601", "42883", "42P18", "42704"):
        return SchemaError(
            f"{relation} can't be read: {said}", connector="postgres", command="conduit discover"
        )
    if state in ("55P03", "57014", "40001", "53200", "53300", "25P03"):
        return ConnectionFailedError(
            f"reading {relation} was stopped: {said}",
            connector="postgres",
            retry="step",
            command="conduit run",
        )
    if found := re.search(r'malformed array literal: "\[.+\]\.\.in column (.+)"', str(error)):
        return SourceDataError(
            f"column {found[1]!r} of {relation} holds an array of several dimensions, which no list"
            " type can say; read it as text in a query (column::text)",
            connector="postgres",
            command="conduit plan",
        )
    return SourceDataError(
        f"{relation} can't be read: {said}", connector="postgres", command="conduit check"
    )
