"""A canary in every place that may hold a secret never shows in text."""

from __future__ import annotations

import pickle
import traceback
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError

from conduit_core.errors import ConfigError
from conduit_core.spec import (
    ConnectionSpec,
    FileConnections,
    LoadedSpec,
    load_spec,
    resolve_connections,
)
from tests.unit.spec.conftest import HEAD, Load

CANARY = "hunter2canary"
SECRETS = [
    f"{{type: postgres, url: 'postgres://u:{CANARY}@h/db'}}",
    f"'postgres://u:{CANARY}@h/db'",
    f"{{type: postgres, password: {CANARY}}}",
    f"{{type: x, api_token: {CANARY}, nested: {{client_secret: {CANARY}, list: ['s3://k:{CANARY}@b']}}}}",
    f"{{type: x, credentials: {{user: a, value: {CANARY}}}}}",
    f"{{type: csv, path: 's3://key:{CANARY}@bucket/dir'}}",
    f"'s3://key:{CANARY}@bucket/dir/*.csv'",
    f"{{type: csv, path: 's3://bucket/dir?secret_key={CANARY}'}}",
    "{type: postgres, host: '${CANARY}'}",
    "{type: postgres, url: 'postgres://h/${CANARY}'}",
    "'postgres://u:${CANARY}@h/db'",
]


def shown(loaded: LoadedSpec) -> str:
    spec = loaded.spec
    texts = [repr(loaded), str(loaded), repr(spec), str(spec), str(spec.model_dump())]
    texts += [spec.model_dump_json(), str(spec.model_dump(mode="json")), repr(spec.source.options)]
    return "\n".join(texts)


@pytest.mark.parametrize("source", SECRETS)
@pytest.mark.parametrize("end", ["source", "destination"])
def test_a_secret_never_shows(load: Load, source: str, end: str) -> None:
    ends = {"source": "w.duckdb", "destination": "w.duckdb", end: source}
    text = f"name: x\nsource: {ends['source']}\ndestination: {ends['destination']}\nstreams: [a]\n"
    loaded = load(text.replace("[a]", "[a.csv]" if "csv" in source else "[a]"), {"CANARY": CANARY})
    assert CANARY not in shown(loaded)
    assert CANARY in str(getattr(loaded.spec, end).reveal())
    copy = pickle.loads(pickle.dumps(loaded))  # noqa: S301 - our own bytes: workers get specs so
    assert CANARY in str(getattr(copy.spec, end).reveal())


@pytest.mark.parametrize(
    "text",
    [
        # what a password typed in the wrong way does to the file
        f"name: x\nsource: {{type: postgres, password: *{CANARY}}}\n",
        f"name: x\nsource: {{type: postgres, password: !{CANARY} x}}\n",
        f"name: x\nsource: {{type: postgres, password: '{CANARY}\n",
        f"name: x\nsource: {{type: postgres, password: %{CANARY}}}\n",
        f"name: x\nsource: {{postgres://u:{CANARY}@h/db}}\n",
        f"name: x\nsource: postgres:/u:{CANARY}@h/db\n",
        f"name: x\nsource: [postgres://u:{CANARY}@h/db]\n",
        f"name: x\npostgres://u:{CANARY}@h/db: y\n",
        f"name: x\nsource: {{type: postgres, lock_wait: {CANARY}}}\n",
        f"name: x\nsource: {{type: [{CANARY}]}}\n",
        f"name: x\nsource: {{type: csv}}\ndestination: {{schema: [{CANARY}]}}\n",
        f"name: x\nsource: &a {CANARY}\ndestination: &a {CANARY}\n",
        # a variable's value in any key
        "name: x\nsource: ${CANARY}\n",
        "name: ' ${CANARY}'\n",
        "name: x\non_error: ${CANARY}\nfreshness: ${CANARY}\nretention: '-${CANARY}'\n",
        HEAD + "defaults: {mode: '${CANARY}', null_cursor: '${CANARY}'}\nstreams: [a]\n",
        HEAD + "streams: ['${CANARY}.b.c', {table: x, mode: '${CANARY}'}]\n",
        HEAD + "streams: [{table: a, cursor: x, mode: append, cursor_timezone: '${CANARY}'}]\n",
        HEAD + "streams: [{table: a, metadata: ['${CANARY}'], freshness: '${CANARY}'}]\n",
    ],
)
def test_a_wrong_file_never_shows_a_secret(load: Load, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(text, {"CANARY": CANARY})
    told = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert CANARY not in told


def test_a_wrong_toml_file_never_shows_a_secret(load: Load) -> None:
    with pytest.raises(ConfigError) as caught:
        load(f'name = "x"\n[source]\npassword = "{CANARY}\n', name="p.toml")
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_a_models_own_error_never_shows_a_secret() -> None:
    with pytest.raises(ValidationError) as caught:
        ConnectionSpec.model_validate({"type": [CANARY], "lock_wait": CANARY, "password": CANARY})
    assert CANARY not in str(caught.value)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")
    port: int


def test_a_connectors_error_never_shows_a_secret(load: Load) -> None:
    loaded = load(
        "name: x\nsource: {type: postgres, port: '${CANARY}', password: '${CANARY}'}\n"
        "destination: w.duckdb\nstreams: [a]\n",
        {"CANARY": CANARY},
    )
    with pytest.raises(ValidationError) as caught:
        _Strict.model_validate(loaded.spec.source.reveal())
    assert CANARY not in str(loaded.explain(caught.value, ("source",), model=_Strict))


def test_a_named_connection_never_shows_a_secret(tmp_path: Path) -> None:
    file = tmp_path / "connections.yml"
    file.write_text(
        f"shop: postgres://u:{CANARY}@h/db\nother: {{type: postgres, password: {CANARY}}}\n"
        f"broken: {{password: {CANARY}}}\nempty: {CANARY}\n",
        encoding="utf-8",
    )
    pipeline = tmp_path / "p.yml"
    pipeline.write_text(
        "name: x\nsource: {connection: shop}\ndestination: {connection: other}\nstreams: [a]\n",
        encoding="utf-8",
    )
    resolver = FileConnections(file, env={})
    loaded = resolve_connections(load_spec(pipeline, env={}), resolver)
    assert CANARY not in shown(loaded) + repr(resolver)
    assert loaded.spec.source.reveal() == {"url": f"postgres://u:{CANARY}@h/db"}
    for name in ("broken", "empty", "nothing"):
        with pytest.raises(ConfigError) as caught:
            resolver.resolve(name)
        assert CANARY not in "".join(traceback.format_exception(caught.value))
