"""A secret in every connection is in no output of any command, with --debug neither."""

from __future__ import annotations

from typing import Any

import pytest

from conduit_core.cli.redact import Redactor
from conduit_core.spec.endpoints import ConnectionSpec
from tests.cli.conftest import Conduit, fill

CANARY = "c4n/ry p@ss:w0rd"
QUOTED = "c4n%2Fry%20p%40ss%3Aw0rd"
FORMS = (CANARY, QUOTED, "c4n%2Fry+p%40ss%3Aw0rd", "c4n", "w0rd")

PIPELINES = {
    "postgres source": """\
source: {type: postgres, url: "postgres://me:%(quoted)s@127.0.0.1:9/db?connect_timeout=2"}
destination: {type: duckdb, path: w.duckdb}
streams: [{table: t, mode: append, cursor: id}]
""",
    "postgres from the environment": """\
source: "${PG_URL}"
destination: {type: duckdb, path: w.duckdb}
streams: [t]
""",
    "postgres parts": """\
source: sqlite:///shop.db
destination: {type: postgres, host: 127.0.0.1, port: 9, user: me, password: "%(canary)s",
  database: db, schema: raw}
streams: [t]
""",
    "named": """\
source: {connection: pg}
destination: {type: duckdb, path: w.duckdb}
streams: [t]
""",
    "files at a URL": """\
source: {type: csv, path: "s3://key:%(quoted)s@bucket/x?endpoint_override=127.0.0.1:9&scheme=http"}
destination: {type: duckdb, path: w.duckdb}
streams: [{path: t.csv}]
""",
    "wrong keys": """\
source: {type: postgres, url: "postgres://me:%(quoted)s@127.0.0.1:9/db", pasword: "%(canary)s"}
destination: {type: duckdb, path: w.duckdb, token: "%(canary)s"}
streams: [t]
""",
    "sqlite and duckdb with secrets they don't take": """\
source: {type: sqlite, path: shop.db, password: "%(canary)s"}
destination: {type: duckdb, path: w.duckdb, encryption_key: "%(canary)s"}
streams: [t]
""",
    "not YAML": 'source: {password: "%(canary)s"\nname: [\n',
}
COMMANDS = (
    ("check",),
    ("plan",),
    ("plan", "--sql"),
    ("run", "--dry-run"),
    ("status",),
    ("state", "show"),
    ("runs",),
    ("discover",),
    ("schema", "infer"),
    ("clean", "--older-than", "7d"),
)


@pytest.mark.parametrize("kind", PIPELINES)
def test_no_command_shows_it(here: Any, conduit: Conduit, kind: str) -> None:
    fill(conduit.folder / "shop.db", "CREATE TABLE t (id INTEGER)")
    url = f"postgres://me:{QUOTED}@127.0.0.1:9/db"
    (conduit.folder / ".conduit").mkdir()
    (conduit.folder / ".conduit/connections.yml").write_text(f"pg: {url}\n")
    text = PIPELINES[kind] % {"canary": CANARY, "quoted": QUOTED}
    conduit.write(text if "name:" in text else f"name: canary\n{text}")
    for command in COMMANDS:
        for more in (("--debug",), ("--debug", "--json", "--log-format", "json")):
            ended = here(*command, *more, PG_URL=url)
            assert ended.out + ended.err or ended.code == 0
            assert [f for f in FORMS if f in ended.out + ended.err] == [], (command, more)


@pytest.mark.parametrize("more", [(), ("--debug",), ("--debug", "--json", "--log-format", "json")])
def test_a_run_and_a_bug_do_not_show_it(conduit: Conduit, more: tuple[str, ...]) -> None:
    """A bug's own message may hold anything: what was read as a secret is masked in it."""
    url = f"postgres://me:{QUOTED}@127.0.0.1:9/db"
    fill(conduit.folder / "shop.db", "CREATE TABLE t (id INTEGER)", "INSERT INTO t VALUES (1)")
    conduit.write(
        "name: canary\nsource: {type: sqlite, path: shop.db}\n"
        'destination: {type: postgres, url: "${PG_URL}"}\nstreams: [t]\n'
    )
    refused = conduit("run", *more, PG_URL=url)
    assert refused.code == 3
    conduit.write(
        'name: canary\nsource: {type: postgres, url: "${PG_URL}"}\n'
        "destination: {type: duckdb, path: w.duckdb}\nstreams: [t]\n",
        "bug.yml",
    )
    bug = conduit(
        "run",
        "bug.yml",
        *more,
        PG_URL=url,
        CANARY=url,
        CONDUIT_LISTENERS="tests.cli.listeners:crash_plan",
    )
    assert bug.code == 1
    assert "LookupError" in bug.err
    for ended in (refused, bug):
        assert [f for f in FORMS if f in ended.out + ended.err] == []


def test_the_redactor_masks_each_spelling_and_spares_the_rest() -> None:
    redact = Redactor()
    assert redact("as it is") == "as it is"
    redact.learn(
        [
            ConnectionSpec.model_validate(f"postgres://me:{QUOTED}@h/db"),
            ConnectionSpec.model_validate({"type": "x", "password": "longer-secret", "path": "p"}),
            ConnectionSpec.model_validate({"type": "x", "pin_password": "abc"}),
        ]
    )
    for form in (CANARY, QUOTED, f"postgres://me:{QUOTED}@h/db", "longer-secret"):
        assert redact(f"before {form} after") == "before *** after"
    assert redact("abc path p") == "abc path p"  # three letters would take every text apart
