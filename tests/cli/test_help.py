"""`conduit --help` and what it costs: nothing heavy is imported for it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.cli.conftest import Conduit

HEAVY = {"pyarrow", "pydantic", "rich", "yaml", "stamina", "structlog", "duckdb", "numpy"}
COMMANDS = ("init", "check", "discover", "plan", "run", "status", "state", "runs", "schema")
COMMANDS += ("clean", "connectors", "json-schema")


@pytest.mark.parametrize(
    "args", [["--help"], ["run", "--help"], ["--version"], ["state", "set", "--help"]]
)
def test_help_imports_nothing_heavy(args: list[str]) -> None:
    code = (
        "import json, sys; from conduit_core.cli import main; code = main(sys.argv[1:])\n"
        "print(json.dumps([code, list(sys.modules)]), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *args], capture_output=True, text=True, check=True
    )
    exit_code, modules = json.loads(done.stderr.splitlines()[-1])
    assert exit_code == 0
    allowed = set() if args == ["--help"] else {"pydantic"}  # typer's own, where it reads options
    assert HEAVY & {m.partition(".")[0] for m in modules} <= allowed
    ours = [m for m in modules if m.startswith(("conduit_core.engine", "conduit_core.spec"))]
    assert ours == []


def test_help_lists_every_command(here: Any) -> None:
    text = here("--help").out
    assert [w for w in COMMANDS if f"\n  {w} " not in text] == []
    assert here().out == text


@pytest.mark.parametrize(
    ("command", "options"),
    [
        (
            "run",
            (
                "--stream --from --to --only --full-refresh --reload --dry-run --jobs "
                "--request-key --allow-empty --allow-deletes"
            ),
        ),
        ("plan", "--stream --from --to --only --full-refresh --sql"),
        ("state set", "--stream --cursor --replace-after --skip"),
        ("state reset", "--stream --replace-after"),
        ("state adopt", "--stream"),
        ("state show", "--stream"),
        ("status", "--stream"),
        ("check", "--stream"),
        ("runs list", "--stream --limit"),
        ("runs show", "--load"),
        ("init", "--from"),
        ("discover", "--write"),
        ("files", "--stream"),
        ("schema infer", "--stream --sample --output"),
        ("schema export", "--stream --format --dialect --of --output"),
        ("schema diff", "--stream --dialect"),
        ("clean", "--older-than --dry-run"),
        ("connectors list", ""),
        ("connectors new", ""),
        ("json-schema", ""),
    ],
)
def test_each_command_has_its_options_and_the_common_ones(
    here: Any, command: str, options: str
) -> None:
    text = here(*command.split(), "--help").out
    for option in [*options.split(), "--json", "--log-format", "--debug"]:
        assert f"  {option}" in text, option
    assert ("[PIPELINE_FILE]" in text) == (
        not command.startswith("connectors") and command != "json-schema"
    )


def test_the_command_is_installed(conduit: Conduit) -> None:
    from importlib.metadata import entry_points

    (script,) = entry_points(group="console_scripts", name="conduit")
    assert script.value == "conduit_core.cli:main"
    assert conduit("--version").out.startswith("conduit 0.")
