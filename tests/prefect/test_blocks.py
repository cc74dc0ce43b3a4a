"""Our blocks: saved, loaded, named by a pipeline, given to a deployment; secrets stay inside."""

from __future__ import annotations

import asyncio
import json
import logging
import traceback
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect.blocks.core import Block
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.flow_engine import run_flow
from pydantic import ValidationError

from conduit_core.errors import ConduitError, ConfigError
from prefect_conduit import ConduitConnection, ConduitPipeline, load_stream, run_pipeline
from tests.prefect.shop import Shop

CANARY = "hunter2canary"


def here(shop: Shop, part: str) -> str:
    """Return a block's name that only this test has."""
    return f"{shop.name}-{part}"


def test_blocks_make_a_pipeline_of_a_shared_file(shop: Shop, tmp_path: Path) -> None:
    source, pipeline = here(shop, "source"), here(shop, "pipeline")
    url = f"sqlite:///{tmp_path}/shop.db"
    ConduitConnection(url=url).save(source)  # type: ignore[unused-coroutine,arg-type]
    shop.more = {"source": {"connection": source.replace("-", "_")}}
    block = ConduitPipeline(content=shop.mapping)
    document = block.save(pipeline)
    loaded = ConduitPipeline.load(pipeline)
    assert isinstance(loaded, ConduitPipeline)
    done = run_pipeline(loaded)
    assert [each.counts.inserted for each in done.results] == [5]

    shop.fill(5, 7)
    reference = {"pipeline": {"$ref": {"block_document_id": str(document)}}}
    with get_client(sync_client=True) as client:
        made = client.create_flow_run(run_pipeline, parameters=reference)
        flow_run = client.read_flow_run(made.id)
    again = run_flow(run_pipeline, flow_run=flow_run)
    assert [each.counts.inserted for each in again.results] == [2]  # type: ignore[union-attr]
    assert flow_run.parameters == reference


def test_a_deployments_parameter_is_a_block(shop: Shop) -> None:
    document = ConduitPipeline(path=str(shop.written())).save(here(shop, "file"))
    reference = {"pipeline": {"$ref": {"block_document_id": str(document)}}}
    deployment = run_pipeline.to_deployment(  # type: ignore[union-attr]
        here(shop, "hourly"), parameters=reference, enforce_parameter_schema=True
    ).apply()
    with get_client(sync_client=True) as client:
        made = client.create_flow_run_from_deployment(deployment)  # type: ignore[arg-type]
        assert made.parameters == reference
        run_flow(run_pipeline, flow_run=made)
        client.delete_deployment(deployment)  # type: ignore[arg-type]
    assert shop.count() == 5


PARTS = {"type": "postgres", "host": "127.0.0.1", "port": 1, "database": "shop", "user": "me"}


@pytest.mark.parametrize(
    "said",
    [
        {"url": f"postgres://me:{CANARY}@127.0.0.1:1/shop"},
        {"url": "postgres://127.0.0.1:1/shop", "user": "me", "password": CANARY},
        {**PARTS, "password": CANARY},
        {**PARTS, "secret_options": {"password": CANARY}},
    ],
)
def test_no_secret_of_a_connection_shows(said: dict[str, object], shop: Shop) -> None:
    block = ConduitConnection.model_validate(said)
    name = here(shop, "secret")
    block.save(name)
    loaded = Block.load(f"conduit-connection/{name}")
    assert isinstance(loaded, ConduitConnection)
    assert loaded.spec().reveal() == block.spec().reveal()
    assert CANARY in str(loaded.spec().reveal())
    with get_client(sync_client=True) as client:
        shown = client.read_block_document_by_name(
            name, "conduit-connection", include_secrets=False
        ).data
    texts = [repr(loaded), str(loaded), loaded.model_dump_json(), repr(loaded.spec()), str(shown)]
    assert CANARY not in "".join(texts)
    for check in (loaded.check, lambda: asyncio.run(loaded.acheck())):
        problems = [item for item in check() if not item.ok]
        assert problems
        assert CANARY not in str(problems)


def test_no_secret_shows_in_a_run_that_fails(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    name = here(shop, "down")
    ConduitConnection(url=f"postgres://me:{CANARY}@127.0.0.1:1/shop").save(name)  # type: ignore[arg-type,unused-coroutine]
    shop.more = {"source": {"connection": name}}

    @flow
    def once(pipeline: dict[str, Any]) -> None:
        load_stream.with_options(retries=0)(pipeline, "orders")

    with caplog.at_level(logging.DEBUG):
        state = once(shop.mapping, return_state=True)
        with pytest.raises(ConduitError) as caught:
            state.result()
    told = "".join(traceback.format_exception(caught.value)) + caplog.text + str(state)
    assert "127.0.0.1" in told
    assert CANARY not in told


def test_check_looks_at_the_system(shop: Shop, tmp_path: Path) -> None:
    block = ConduitConnection(type="sqlite", path=str(tmp_path / "shop.db"))
    assert all(item.ok for item in block.check())
    again = asyncio.run(block.acheck())
    assert [item.name for item in again] == [item.name for item in block.check()]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({}, "it is empty"),
        ({"url": f"mysql://me:{CANARY}@h/x"}, "`url` names no known type"),
        ({"host": CANARY}, "`type` is missing"),
        ({"type": "duckdb", "path": "a", "password": CANARY}, "doesn't take"),
        ({"options": {"connection": CANARY}}, "can't name another one"),
    ],
)
def test_a_wrong_connection_is_refused_when_it_is_made(said: dict[str, object], told: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ConduitConnection.model_validate(said)
    assert told in str(caught.value)
    assert CANARY not in "".join(traceback.format_exception(caught.value))


ENDS = {"source": "sqlite:///a.db", "destination": "duckdb:///b.duckdb"}


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({}, "takes one of `path` and `content`"),
        ({"path": "shop.yml", "content": {"name": "x"}}, "takes one of `path` and `content`"),
        ({"content": {"name": "shop", **ENDS, "streems": ["t"]}}, "`streams`"),
        ({"content": {"streams": 5, "name": "${X}"}}, "streams"),
        (
            {"content": {**ENDS, "source": f"postgres://u:{CANARY}@h/x", "streams": ["t"]}},
            "a password can't stand in a block's content",
        ),
    ],
)
def test_a_wrong_pipeline_is_refused_when_it_is_made(said: dict[str, object], told: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ConduitPipeline.model_validate(said)
    assert told in str(caught.value)
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_connections_of_a_block_take_the_place_of_the_files(shop: Shop, tmp_path: Path) -> None:
    name = here(shop, "elsewhere")
    ConduitConnection(type="duckdb", path=str(tmp_path / "else.duckdb")).save(name)  # type: ignore[unused-coroutine]
    done = run_pipeline(ConduitPipeline(path=str(shop.written()), destination=name))
    assert [each.outcome for each in done.results] == ["published"]
    assert (tmp_path / "else.duckdb").exists()
    assert not (tmp_path / "wh.duckdb").exists()


def test_block_types_tell_what_they_are_for() -> None:
    ConduitConnection.register_type_and_schema()  # type: ignore[unused-coroutine]
    with get_client(sync_client=True) as client:
        assert isinstance(client, SyncPrefectClient)
        found = client.read_block_type_by_slug("conduit-connection")
        schema = ConduitConnection.model_json_schema()
    assert found.description
    assert "ConduitConnection" in (found.code_example or "")
    assert set(schema["secret_fields"]) == {"url", "password", "secret_options.*"}
    assert all("description" in schema["properties"][key] for key in schema["properties"])
    json.dumps(schema)


def test_a_pipeline_that_is_not_there_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yml"):
        run_pipeline(ConduitPipeline(path=str(tmp_path / "nowhere.yml")))
