"""What a runner says of a connection in the words of a pipeline file."""

from __future__ import annotations

import traceback

import pytest

from conduit_core import connection_from_mapping
from conduit_core.connectors.postgres.options import PostgresOptions
from conduit_core.errors import ConfigError

CANARY = "hunter2canary"


@pytest.mark.parametrize(
    ("said", "kind", "options"),
    [
        ({"url": "sqlite:///a.db", "host": None, "options": {}}, "sqlite", {"path": "a.db"}),
        ({"type": "csv", "path": "a", "quote": ""}, "csv", {"path": "a"}),
        ({"path": "/data"}, "", {"path": "/data"}),
        ({"credentials": {"region": "x"}}, "", {"credentials": {"region": "x"}}),
        ({"url": "postgres://${HOST}/x"}, "postgres", {"url": "postgres://${HOST}/x"}),
    ],
)
def test_it_is_read_as_a_file_would_be(
    said: dict[str, object], kind: str, options: dict[str, object]
) -> None:
    spec = connection_from_mapping(said, "block `x`")
    assert (spec.type, spec.reveal()) == (kind, options)


def test_a_login_is_laid_over_it() -> None:
    said = {"type": "postgres", "host": "db", "database": "shop"}
    spec = connection_from_mapping(said, "block", user="me", password=CANARY)
    assert PostgresOptions.model_validate(spec.reveal()).secrets() == (CANARY,)
    assert CANARY not in f"{spec!r}{spec.options}"


@pytest.mark.parametrize(
    ("said", "login", "told"),
    [
        ({}, None, "block `x`: it is empty"),
        ({"url": f"mysql://{CANARY}@h"}, None, "block `x`: `url` names no known type"),
        ({"host": CANARY}, None, "`type` is missing"),
        ({"connection": CANARY}, None, "can't name another one"),
        ({"path": "/data"}, "me", "has a login, which a file connection doesn't take"),
    ],
)
def test_what_is_wrong_is_told_without_a_value(
    said: dict[str, object], login: str | None, told: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        connection_from_mapping(said, "block `x`", user=login)
    assert told in caught.value.message
    assert CANARY not in "".join(traceback.format_exception(caught.value))
