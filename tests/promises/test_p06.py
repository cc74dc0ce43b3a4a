"""p06: a row that commits late, with a time older than rows loaded already, is not missed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from conduit_core import LoadResult, Pipeline, RunRequest, plan, read, run
from tests.lab import Lab, only, stream

TABLE = "CREATE TABLE orders (id int8, at {} NOT NULL DEFAULT {})"
LONG_AGO = "now() - interval '1 hour'"


class Shop:
    """A PostgreSQL database that several sessions write to, and a pipeline that reads from it."""

    def __init__(self, url: str, folder: Path, **keys: Any) -> None:
        self.url = url
        self.folder = folder
        self.keys = {"table": "public.orders", "mode": "append", "cursor": ["at", "id"], **keys}

    def connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.url)

    def do(self, *statements: str) -> None:
        with self.connect() as connection:
            for statement in statements:
                connection.execute(statement)

    def pipeline(self, url: str | None = None) -> Pipeline:
        return Pipeline.from_mapping(
            {
                "name": "shop",
                "source": {"type": "postgres", "url": url or self.url},
                "destination": {"type": "duckdb", "path": "warehouse.duckdb"},
                "streams": [self.keys],
            },
            self.folder,
        )

    def run(self, **request: Any) -> LoadResult:
        return only(run(self.pipeline(), request=RunRequest(**request)))

    def notes(self, url: str | None = None) -> str:
        (made,) = plan(self.pipeline(url))
        return " / ".join(made.notes)

    def ids(self) -> list[int]:
        with read(self.pipeline(), "orders") as reader:
            return sorted(row["id"] for row in reader.read_all().to_pylist())


@pytest.fixture
def shop(postgres_database: str, tmp_path: Path) -> Shop:
    made = Shop(postgres_database, tmp_path)
    made.do(TABLE.format("timestamptz", "now()"))
    return made


@pytest.fixture
def late(shop: Shop) -> Iterator[psycopg.Connection[Any]]:
    """A session that has written row 1, with the time it began at, and not committed."""
    with closing(shop.connect()) as connection:
        connection.execute("INSERT INTO orders (id) VALUES (1)")
        yield connection


def test_p06_a_transaction_that_commits_late_is_not_missed(
    shop: Shop, late: psycopg.Connection[Any]
) -> None:
    shop.do(f"INSERT INTO orders VALUES (0, {LONG_AGO})", "INSERT INTO orders (id) VALUES (2), (3)")
    first = shop.run()
    assert shop.ids() == [0]
    held = [note for note in first.notes if "is writing: rows after" in note]
    assert len(held) == 1, first.notes
    late.commit()
    last = shop.run()
    assert (last.counts.read, shop.ids()) == (3, [0, 1, 2, 3])
    assert not last.notes
    assert shop.run().outcome == "empty"


def test_p06_rows_above_an_open_transaction_s_start_wait_though_nothing_else_is_new(
    shop: Shop, late: psycopg.Connection[Any]
) -> None:
    shop.do("INSERT INTO orders (id) VALUES (2)")
    assert shop.run().outcome == "empty"
    assert "wait for it" in shop.notes()
    late.rollback()
    assert shop.run().counts.read == 1
    assert shop.ids() == [2]


def test_p06_a_full_refresh_of_an_append_ends_there_too(
    shop: Shop, late: psycopg.Connection[Any]
) -> None:
    shop.do(f"INSERT INTO orders VALUES (0, {LONG_AGO})", "INSERT INTO orders (id) VALUES (2)")
    shop.run(full_refresh=True)
    assert shop.ids() == [0]
    late.commit()
    shop.run()
    assert shop.ids() == [0, 1, 2]


def test_p06_a_transaction_that_waits_to_write_counts(shop: Shop) -> None:
    with closing(shop.connect()) as writer:
        writer.execute("SELECT 1")
        writer.execute("LOCK TABLE orders IN ROW EXCLUSIVE MODE")  # as an INSERT before its rows
        shop.do("INSERT INTO orders (id) VALUES (2)")
        assert "is writing" in shop.notes()
        writer.execute("INSERT INTO orders (id) VALUES (1)")
        writer.commit()
    shop.run()
    assert shop.ids() == [1, 2]


def test_p06_readers_hold_nothing_up(shop: Shop) -> None:
    with closing(shop.connect()) as reader:
        reader.execute("SELECT * FROM orders")
        shop.do("INSERT INTO orders (id) VALUES (2)")
        assert shop.notes() == ""
        assert shop.run().counts.read == 1


@pytest.mark.parametrize("kind", ["timestamptz(0)", "timestamp", "timestamp(0)", "date"])
def test_p06_times_of_any_precision_and_without_zone(
    postgres_database: str, tmp_path: Path, kind: str
) -> None:
    shop = Shop(postgres_database, tmp_path, cursor_timezone="UTC")
    shop.do(TABLE.format(kind, "(now() AT TIME ZONE 'UTC')" if "tz" not in kind else "now()"))
    with closing(shop.connect()) as late:
        late.execute("INSERT INTO orders (id) VALUES (1)")
        shop.do(
            "INSERT INTO orders VALUES (0, now() - interval '2 days')",
            "INSERT INTO orders (id) VALUES (2)",
        )
        shop.run()
        assert shop.ids() == [0]
        late.commit()
    shop.run()
    assert shop.ids() == [0, 1, 2]


def test_p06_without_a_zone_the_plan_says_what_it_cannot_know(
    postgres_database: str, tmp_path: Path
) -> None:
    shop = Shop(postgres_database, tmp_path)
    shop.do(TABLE.format("timestamp", "now()"))
    assert shop.notes() == ""
    with closing(shop.connect()) as late:
        late.execute("INSERT INTO orders (id) VALUES (1)")
        assert "without `cursor_timezone`" in shop.notes()


def test_p06_a_cursor_that_is_no_time_is_not_bounded(
    shop: Shop, late: psycopg.Connection[Any]
) -> None:
    shop.keys["cursor"] = "id"
    shop.do("INSERT INTO orders (id) VALUES (2)")
    assert shop.run().watermark == "2"


def test_p06_other_roles_transactions_are_told_of_where_they_cannot_be_seen(
    shop: Shop, late: psycopg.Connection[Any]
) -> None:
    role = f"reader_{shop.url.rpartition('/')[2][-12:]}".replace("-", "_").split("?")[0]
    shop.do(f"CREATE ROLE {role} LOGIN PASSWORD 'p'", f"GRANT SELECT ON orders TO {role}")
    try:
        url = psycopg.conninfo.make_conninfo(shop.url, user=role, password="p")
        parts = psycopg.conninfo.conninfo_to_dict(url)
        host = str(parts.get("host", "localhost"))
        login = (
            f"postgresql://{role}:p@/{parts['dbname']}?host={host}&port={parts.get('port', 5432)}"
        )
        shop.do("INSERT INTO orders (id) VALUES (2)")
        assert f"GRANT pg_read_all_stats TO {role}" in shop.notes(login)
        shop.do(f"GRANT pg_read_all_stats TO {role}")
        assert "is writing: rows after" in shop.notes(login)
    finally:
        shop.do(f"DROP OWNED BY {role}", f"DROP ROLE {role}")


@pytest.mark.parametrize("table", ["orders", "other"])
def test_p06_a_prepared_transaction_holds_new_rows_of_its_table(shop: Shop, table: str) -> None:
    with closing(shop.connect()) as connection:
        (most,) = connection.execute("SHOW max_prepared_transactions").fetchone() or ("0",)
        if most == "0":
            pytest.skip("the server takes no prepared transactions")
    shop.do("CREATE TABLE other (id int8)", f"INSERT INTO orders VALUES (0, {LONG_AGO})")
    shop.run()
    with closing(shop.connect()) as late:
        late.tpc_begin("late")
        late.execute(f"INSERT INTO {table} (id) VALUES (1)")
        late.tpc_prepare()
        try:
            shop.do("INSERT INTO orders (id) VALUES (2)")
            assert shop.run().outcome == ("empty" if table == "orders" else "published")
            assert ("COMMIT PREPARED" in shop.notes()) == (table == "orders")
        finally:
            late.tpc_commit()
    shop.run()
    assert shop.ids() == ([0, 1, 2] if table == "orders" else [0, 2])


def test_p06_a_given_window_says_that_rows_may_still_come(
    shop: Shop, late: psycopg.Connection[Any]
) -> None:
    shop.do(f"INSERT INTO orders VALUES (0, {LONG_AGO})")
    over = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=30)
    past = {"window_from": "2024-01-01T00:00:00Z", "window_to": over.isoformat()}
    assert not shop.run(**past).notes
    result = shop.run(window_from="2024-01-01T00:00:00Z")
    assert any("load the window again" in note for note in result.notes)
    assert shop.ids() == [0]


# --- settle -----------------------------------------------------------------------------------


def test_p06_settle_ends_a_load_behind_the_source_s_clock(shop: Shop) -> None:
    shop.keys["settle"] = "10m"
    shop.do(
        "INSERT INTO orders VALUES (1, now() - interval '1 hour'), (2, now() - interval '11 min'),"
        " (3, now() - interval '9 min'), (4, now()), (5, now() + interval '1 day')"
    )
    result = shop.run()
    assert shop.ids() == [1, 2]
    assert any("settle: rows after" in note for note in result.notes)
    # What commits below the clock by less than `settle` is read, though later rows were there.
    shop.do("INSERT INTO orders VALUES (6, now() - interval '10 min 30 s')")
    shop.run()
    assert shop.ids() == [1, 2, 6]


def test_p06_settle_of_a_composite_cursor_takes_every_row_of_its_last_time(shop: Shop) -> None:
    shop.keys["settle"] = "1m"
    shop.do(f"INSERT INTO orders SELECT i, {LONG_AGO} FROM generate_series(1, 5) i")
    assert shop.run().watermark.endswith(", 5")  # type: ignore[union-attr]
    shop.do("INSERT INTO orders (id) VALUES (9)")
    assert shop.run().outcome == "empty"


def test_p06_settle_on_a_file_of_sqlite(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.sql("CREATE TABLE orders (id INTEGER, at TIMESTAMP)")
    now = dt.datetime.now(dt.UTC).replace(tzinfo=None)
    for i, minutes in enumerate((60, 0)):
        lab.sql(f"INSERT INTO orders VALUES ({i}, '{now - dt.timedelta(minutes=minutes)}')")
    pipeline = lab.pipeline(stream(cursor="at", settle="5m", cursor_timezone="UTC"))
    lab.run(pipeline)
    assert lab.ids(pipeline=pipeline) == [0]
