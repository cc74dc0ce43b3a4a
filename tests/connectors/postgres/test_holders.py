"""Widening on PostgreSQL: what holds a column is named, or dropped and made again as it was."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pytest

from conduit_core.connectors.postgres.destination import PostgresDestination
from conduit_core.connectors.publish import AppendStaged, Column, WidenColumn
from conduit_core.errors import SchemaError
from conduit_core.events import ignore
from conduit_core.testing.doubles import TableRows, publish, record
from conduit_core.testing.fixtures import commit
from conduit_core.types.dialect import Table
from tests.connectors.postgres.support import destination_at
from tests.services import PostgresServer, sql

_TABLE = Table("public", "t")
_MADE = """
CREATE TABLE t (id bigint PRIMARY KEY, n int NOT NULL DEFAULT 7, d date, other text);
INSERT INTO t VALUES (1, 10, '2024-02-29', 'x');
"""
_VIEWS = """
CREATE VIEW "A view" WITH (security_barrier, check_option = local)
  AS SELECT id, n + 1 AS "More n", d FROM t WHERE n > 0;
CREATE VIEW above AS SELECT a."More n" AS m, b.n FROM "A view" a JOIN t b USING (id);
CREATE MATERIALIZED VIEW kept WITH (fillfactor = 70) AS SELECT id, max(m) AS s
  FROM t JOIN above ON true GROUP BY id;
CREATE UNIQUE INDEX kept_once ON kept (id) WITH (fillfactor = 60);
CREATE INDEX kept_s ON kept (s DESC) WHERE s > 1;
ALTER MATERIALIZED VIEW kept CLUSTER ON kept_once;
ALTER MATERIALIZED VIEW kept ALTER COLUMN s SET STATISTICS 99;
CREATE MATERIALIZED VIEW empty AS SELECT * FROM kept WITH NO DATA;
CREATE VIEW beside AS SELECT id, d FROM t;
ALTER VIEW above RENAME COLUMN n TO "renamed";
COMMENT ON VIEW above IS 'it''s above';
COMMENT ON COLUMN above.m IS 'a column';
COMMENT ON MATERIALIZED VIEW kept IS 'kept';
COMMENT ON INDEX kept_s IS 'by s';
"""
_FACTS = """
SELECT c.relname, c.relkind, pg_get_userbyid(c.relowner), c.reloptions, c.relispopulated,
  pg_get_viewdef(c.oid), obj_description(c.oid, 'pg_class'),
  (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(c.relacl) a),
  (SELECT json_agg(json_build_array(a.attname, a.attstattarget, a.attacl::text,
     col_description(c.oid, a.attnum)) ORDER BY a.attnum)::text FROM pg_attribute a
   WHERE a.attrelid = c.oid AND a.attnum > 0),
  (SELECT json_agg(json_build_array(pg_get_indexdef(i.indexrelid), i.indisclustered,
     obj_description(i.indexrelid, 'pg_class')) ORDER BY i.indexrelid::regclass::text)::text
   FROM pg_index i WHERE i.indrelid = c.oid)
FROM pg_class c WHERE c.relkind IN ('v', 'm') AND c.relnamespace = 'public'::regnamespace
ORDER BY 1
"""
_SHAPE = """
SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute
WHERE attrelid = 't'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""


@pytest.fixture
def destination(postgres_database: str) -> Iterator[PostgresDestination]:
    sql(postgres_database, _MADE)
    made = destination_at(postgres_database)
    yield made
    made.close()


def widen(destination: PostgresDestination, *, recreate: bool = False, ddl: str = "bigint") -> None:
    """Load a row into ``t`` with ``n`` widened, and let it have NULLs."""
    was = Column(name="n", ddl="integer", nullable=False)
    change = WidenColumn(column=Column(name="n", ddl=ddl), was=was, recreate=recreate)
    numbers = [2**40 if ddl == "bigint" else None]
    rows = pa.table({"id": pa.array([2]), "n": pa.array(numbers, pa.int64())})
    if ddl != "bigint":
        rows = rows.set_column(1, "n", pa.array(["9"]))
    plan = publish(record("t", "public"), rows.schema, change, AppendStaged())
    commit(destination, plan, rows)


def test_views_are_made_again_as_they_were(
    postgres_database: str, postgres_server: PostgresServer, destination: PostgresDestination
) -> None:
    owner = postgres_server.role(postgres_database, "CREATE, USAGE ON SCHEMA public")
    reader = postgres_server.role(postgres_database)
    other = postgres_server.role(postgres_database)
    sql(
        postgres_database,
        f"{_VIEWS}; GRANT SELECT ON t TO {owner.name};"
        f"GRANT SELECT ON above TO {reader.name} WITH GRANT OPTION;"
        f'GRANT SELECT (id), UPDATE (id) ON "A view" TO {reader.name};'
        f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {owner.name};"
        f"ALTER VIEW above OWNER TO {owner.name};"
        f"REVOKE DELETE ON above FROM {owner.name};"
        f"ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO {other.name}",
    )
    before, untouched = (
        sql(postgres_database, _FACTS),
        sql(postgres_database, "SELECT 'beside'::regclass::oid::int"),
    )
    views = ("materialised view public.empty", "materialised view public.kept")
    plain = ("view public.above", 'view public."A view"')
    assert destination.holders(_TABLE, ("n",)) == (*views, *plain)
    assert destination.holders(_TABLE, ("other",)) == ()
    with pytest.raises(SchemaError) as error:
        widen(destination)
    assert "column 'n' can't be widened from integer to bigint" in error.value.message
    assert all(what in error.value.message for what in (*views, *plain))
    assert sql(postgres_database, _FACTS) == before
    widen(destination, recreate=True)
    assert sql(postgres_database, _FACTS) == before
    assert sql(postgres_database, "SELECT 'beside'::regclass::oid::int") == untouched
    shape = sql(postgres_database, _SHAPE)
    assert ("n", "bigint", False) in shape
    assert sql(postgres_database, "SELECT m, renamed FROM above ORDER BY 1") == [
        (11, 10),
        (2**40 + 1, 2**40),
    ]
    sql(postgres_database, f"REASSIGN OWNED BY {owner.name} TO CURRENT_USER")
    sql(postgres_database, f"DROP OWNED BY {owner.name}, {reader.name}, {other.name}")


_FIRM = {
    "policy": ("CREATE POLICY p ON t USING (n > 0)", "policy p on table t"),
    "generated": (
        "ALTER TABLE t ADD COLUMN g int GENERATED ALWAYS AS (n + 1) STORED",
        "generated column g",
    ),
    "trigger": (
        (
            "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
            " CREATE TRIGGER g BEFORE UPDATE OF n ON t FOR EACH ROW EXECUTE FUNCTION f()"
        ),
        "trigger g on table t",
    ),
    "rule": (
        (
            "CREATE TABLE log (n int);"
            " CREATE RULE r AS ON INSERT TO t DO ALSO INSERT INTO log VALUES (NEW.n)"
        ),
        "rule r on table t",
    ),
    "row type": ("CREATE TABLE u (x t)", "column x of table u"),
    "function on a view": (
        (
            "CREATE VIEW v AS SELECT n FROM t;"
            " CREATE FUNCTION f(v) RETURNS int LANGUAGE sql AS 'SELECT 1'"
        ),
        "function f(v)",
    ),
    "trigger on a view": (
        (
            "CREATE VIEW v AS SELECT n FROM t;"
            " CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
            " CREATE TRIGGER g INSTEAD OF INSERT ON v FOR EACH ROW EXECUTE FUNCTION f()"
        ),
        "trigger g on view v",
    ),
    "rule on a view": (
        (
            "CREATE VIEW v AS SELECT n FROM t;"
            " CREATE RULE r AS ON INSERT TO v DO INSTEAD INSERT INTO t VALUES (5, NEW.n)"
        ),
        "rule r on view v",
    ),
    "default of a view": (
        "CREATE VIEW v AS SELECT id, n FROM t; ALTER VIEW v ALTER COLUMN n SET DEFAULT 3",
        "default value for column n of view v",
    ),
    "publication's columns": (
        "CREATE PUBLICATION told FOR TABLE t (id, n)",
        "publication of table t in publication told",
    ),
    "publication's rows": (
        "CREATE PUBLICATION told FOR TABLE t WHERE (n > 1) WITH (publish = insert)",
        "publication of table t in publication told",
    ),
    "parent": (
        "CREATE TABLE parent (LIKE t); ALTER TABLE t INHERIT parent",
        "table parent, its parent,",
    ),
}


@pytest.mark.parametrize("case", _FIRM)
def test_what_cannot_be_made_again_is_named(
    postgres_database: str, destination: PostgresDestination, case: str
) -> None:
    made, what = _FIRM[case]
    ((version,),) = sql(postgres_database, "SHOW server_version_num")
    if case.startswith("publication") and int(version) < 150000:
        pytest.skip("publications have neither before PostgreSQL 15")
    sql(postgres_database, made)
    before = sql(postgres_database, _SHAPE)
    with pytest.raises(SchemaError, match="put it back") as error:
        widen(destination, recreate=True)
    assert what in error.value.message
    assert sql(postgres_database, _SHAPE) == before


def test_all_that_holds_a_column_is_named(
    postgres_database: str, destination: PostgresDestination
) -> None:
    """What could be made again, too."""
    sql(postgres_database, f"CREATE VIEW v AS SELECT n FROM t; {_FIRM['policy'][0]}")
    with pytest.raises(
        SchemaError, match=r"policy p on table t, view public\.v hold.*make policy p"
    ):
        widen(destination)


def test_what_only_the_server_knows_is_told_too(
    postgres_database: str, destination: PostgresDestination
) -> None:
    """A foreign key that the wider type can't have, and a view that can't be made again."""
    sql(
        postgres_database,
        "CREATE TABLE parent (n int PRIMARY KEY); INSERT INTO parent VALUES (10);"
        " ALTER TABLE t ADD FOREIGN KEY (n) REFERENCES parent",
    )
    with pytest.raises(SchemaError, match=r"'n' can't be widened from .*implemented"):
        widen(destination, ddl="text")
    sql(
        postgres_database,
        "ALTER TABLE t DROP CONSTRAINT t_n_fkey; CREATE VIEW v AS SELECT n + 1 AS m FROM t",
    )
    with pytest.raises(SchemaError, match=r"view public\.v can't be made again as it was"):
        widen(destination, ddl="text", recreate=True)
    assert ("n", "integer", True) in sql(postgres_database, _SHAPE)


def test_a_view_that_comes_while_the_rows_are_read_is_named(
    postgres_database: str, destination: PostgresDestination
) -> None:
    was = Column(name="n", ddl="integer", nullable=False)
    change = WidenColumn(column=Column(name="n", ddl="bigint"), was=was)
    rows = pa.table({"id": pa.array([2]), "n": pa.array([3], pa.int64())})
    plan = publish(record("t", "public"), rows.schema, change, AppendStaged())

    def meanwhile(_: int) -> None:
        sql(postgres_database, "CREATE VIEW late AS SELECT n FROM t")

    staged = TableRows(rows, on_batch=meanwhile)
    with pytest.raises(SchemaError, match=r"view public\.late hold it"):
        destination.commit(plan, staged, ignore)


def test_changes_are_one_pass(postgres_database: str, destination: PostgresDestination) -> None:
    was = Column(name="n", ddl="integer", nullable=False)
    changes = [
        WidenColumn(column=Column(name="n", ddl="bigint"), was=was),
        WidenColumn(
            column=Column(name="d", ddl="timestamp without time zone"),
            was=Column(name="d", ddl="date"),
        ),
    ]
    rows = pa.table({"id": pa.array([2]), "n": pa.array([3], pa.int64())})
    plan = publish(record("t", "public"), rows.schema, *changes, AppendStaged())
    altered = [line for line in destination.render(plan) if line.startswith("ALTER TABLE")]
    assert altered == [
        (
            'ALTER TABLE "public"."t" ALTER COLUMN "n" TYPE bigint, ALTER COLUMN "n" DROP NOT NULL,'
            ' ALTER COLUMN "d" TYPE timestamp without time zone'
        )
    ]
    assert destination.render(plan).index(altered[0]) > 1
    commit(destination, plan, rows)
    assert sql(postgres_database, _SHAPE)[1:3] == [
        ("n", "bigint", False),
        ("d", "timestamp without time zone", False),
    ]
