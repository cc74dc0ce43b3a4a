"""How output survives its reader: closed pipes, narrow alphabets and terminals, file names."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from typing import Any

import pytest

from conduit_core.cli.screen import Screen
from conduit_core.engine.pasting import complete
from tests.cli.conftest import SHOP, Conduit, fill


@pytest.mark.parametrize(
    ("command", "stream", "completed"),
    [
        ("conduit plan", None, "conduit plan 'my file.yml'"),
        ("conduit plan", "a b", "conduit plan 'my file.yml' --stream 'a b'"),
        (
            "conduit state set --cursor 1 --skip",
            "s",
            "conduit state set 'my file.yml' --stream s --cursor 1 --skip",
        ),
        (
            "conduit run  # once process 7 (python) has closed the file",
            "s",
            "conduit run 'my file.yml' --stream s  # once process 7 (python) has closed the file",
        ),
        ("conduit run --stream x", "s", "conduit run 'my file.yml' --stream x"),
        ("conduit discover", "s", "conduit discover 'my file.yml'"),
        ("conduit check other.yml", "s", "conduit check other.yml"),
        ("conduit run --help", "s", "conduit run --help"),
        ("conduit connectors", "s", "conduit connectors"),
        ("conduit init", "s", "conduit init"),
        ("pip install 'conduit-load[postgres]'", "s", "pip install 'conduit-load[postgres]'"),
        (
            "conduit run --to 3 && conduit state set --cursor 4",
            "s",
            (
                "conduit run 'my file.yml' --stream s --to 3"
                " && conduit state set 'my file.yml' --stream s --cursor 4"
            ),
        ),
    ],
)
def test_commands_to_paste_name_file_and_stream(
    command: str, stream: str | None, completed: str
) -> None:
    assert complete(command, "my file.yml", stream) == completed
    assert complete(completed, "my file.yml", stream) == completed


def test_the_pasted_command_works(here: Any, shop: Conduit) -> None:
    fill(shop.folder / "shop.db", 'CREATE TABLE "my orders" (id INTEGER, at TEXT)')
    shop.write(SHOP + "  - {table: my orders, mode: append, cursor: nope}\n", "my file.yml")
    ended = here("run", "my file.yml", "--stream", "my orders")
    assert ended.code == 4
    command = ended.last_lines[3]
    assert "'my file.yml'" in command
    words = shlex.split(command)
    pasted = subprocess.run(
        [sys.executable, "-m", "conduit_core.cli", *words[1:]],
        cwd=shop.folder,
        env=shop.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert pasted.returncode in {0, 4}, pasted.stderr


def test_a_closed_pipe_is_no_bug(shop: Conduit) -> None:
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m conduit_core.cli json-schema | head -c 20"],
        cwd=shop.folder,
        env=shop.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert (len(done.stdout), done.stderr) == (20, "")


def test_a_terminal_without_unicode(shop: Conduit) -> None:
    fill(shop.folder / "shop.db", 'CREATE TABLE "naïve 😀" (id INTEGER)')
    ascii_only = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    text = shop("discover", **ascii_only)
    assert (text.code, "na\\xefve" in text.out) == (0, True)
    names = [
        r["name"] for r in json.loads(shop("discover", "--json", **ascii_only).out)["relations"]
    ]
    assert "naïve 😀" in names


def test_a_table_that_a_narrow_terminal_cannot_show(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = [("stream", "left"), ("load id", "left"), ("rows", "right")]
    rows = [("orders", "1" * 16, "5"), ("customers", "", "3")]
    screen = Screen(str)
    screen.table(columns, [])
    assert capsys.readouterr().out == ""
    screen.table(columns, rows)
    assert f"orders      {'1' * 16}      5" in capsys.readouterr().out
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "20")
    screen.table(columns, rows)
    assert capsys.readouterr().out.splitlines() == [
        "stream   orders",
        f"load id  {'1' * 16}",
        "rows     5",
        "",
        "stream   customers",
        "rows     3",
        "",
    ]


def test_ctrl_c_outside_a_run(here: Any, shop: Conduit, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("conduit_core.engine.standing.status", interrupt)
    ended = here("status", "--json")
    assert (ended.code, ended.document) == (130, {"interrupted": True, "exit_code": 130})
    assert ended.last_lines[0] == "interrupted"
    assert ended.last_lines[3] == "conduit status --json"
