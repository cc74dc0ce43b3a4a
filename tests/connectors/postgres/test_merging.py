"""A merge meets its contract without MERGE too, as before PostgreSQL 15; who gets which."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from conduit_core.connectors.base import Destination
from conduit_core.connectors.postgres.merging import PostgresMerging
from conduit_core.testing.merging import MergeContract
from conduit_core.types.dialect import Table
from tests.connectors.postgres.support import destination_at
from tests.services import sql


class TestByPairs(MergeContract):
    @pytest.fixture(autouse=True)
    def older(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(PostgresMerging, "at_once", lambda *_: None)

    @pytest.fixture
    def connect(self, postgres_database: str) -> Callable[[], Destination]:
        return lambda: destination_at(postgres_database, lock_wait=20.0)


def test_a_plain_table_gets_merge_where_the_server_has_it(
    postgres_database: str,
) -> None:
    sql(
        postgres_database,
        "CREATE TABLE plain (id int); CREATE TABLE parts (id int) PARTITION BY LIST (id);"
        " CREATE TABLE ruled (id int);"
        " CREATE RULE r AS ON UPDATE TO ruled DO ALSO NOTIFY changed;"
        " CREATE TABLE fired (id int); CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql"
        " AS 'BEGIN RETURN NULL; END';"
        " CREATE TRIGGER g BEFORE INSERT ON fired FOR EACH ROW EXECUTE FUNCTION nothing()",
    )
    ((version,),) = sql(postgres_database, "SHOW server_version_num")
    destination = destination_at(postgres_database)
    session = destination.read_session()
    try:
        chosen = [
            PostgresMerging().at_once(session, Table("public", name)) is not None
            for name in ("plain", "parts", "ruled", "fired", "missing")
        ]
    finally:
        session.close()
        destination.close()
    new = int(version) >= 150000
    assert chosen == [new, False, False, False, False]
