from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from conduit_core.errors import ConfigError
from conduit_dbt import invoke
from conduit_dbt.in_process import InProcess
from conduit_dbt.invoke import Executable
from conduit_dbt.opening import runner
from conduit_dbt.places import Place
from conduit_dbt.private_profile import from_destination
from conduit_dbt.project import Project
from conduit_dbt.results import DbtResult
from conduit_dbt.session import session
from tests import services
from tests.dbt.conftest import MODELS, RUNNERS, SOURCES, Other, write_project

# dbt's password has what breaks quoting, YAML, Jinja and JSON.
CANARY = """p'a"{{ s }}\\$1"""


def test_both_runners_tell_each_node_and_freshness_in_words(shop: Project) -> None:
    told = []
    for made in RUNNERS.values():
        with session(shop, made(), name="shop", profiles_dir=shop.root) as dbt:
            built = dbt.run("build", "--vars", "{quiet: 1}")
            fresh = dbt.run("source freshness")
        _each_node_is_told(built)
        _freshness_is_said_in_words(fresh)
        told.append((_comparable(built), _comparable(fresh)))
    assert told[0] == told[1]


def _each_node_is_told(result: DbtResult) -> None:
    nodes = {node.name: node for node in result.nodes}
    statuses = {name: node.status for name, node in nodes.items()}
    assert statuses == {
        "good": "success",
        "child": "skipped",  # a test of what it reads failed
        "broken": "skipped",
        "after_broken": "skipped",
        "not_null_good_id": "pass",
        "unique_good_id": "warn",
        "only_nines": "fail",
    }
    assert (result.code, result.error, result.arguments) == (1, "", ("--vars", "..."))
    assert [node.name for node in result.failed] == ["only_nines"]
    assert result.counts == {"success": 1, "skipped": 3, "pass": 1, "warn": 1, "fail": 1}
    assert nodes["unique_good_id"].failures == 1
    assert nodes["only_nines"].kind == "test"
    assert nodes["good"].path == "models/good.sql"
    assert nodes["good"].seconds >= 0
    assert result.dbt_version.startswith("1.")
    assert result.seconds > 0


def _freshness_is_said_in_words(result: DbtResult) -> None:
    found = {each.name.partition(".")[2]: each for each in result.freshness}
    assert {name: each.status for name, each in found.items()} == {
        "fresh": "pass",
        "late": "warn",
        "stale": "error",
        "empty": "error",
        "missing": "runtime error",
    }
    assert found["late"].message == "the newest row is 2 hours old, the limit is 1 hour"
    assert found["stale"].message == "the newest row is 3 days old, the limit is 1 day"
    assert found["empty"].message == "the table has no rows"
    assert found["empty"].age is None
    assert found["missing"].message.startswith("the table isn't there or can't be read: ")
    assert {each.name for each in result.failed} == {"raw.stale", "raw.empty", "raw.missing"}
    assert result.code == 1


def test_a_flag_that_dbt_does_not_know_is_said(shop: Project) -> None:
    with session(shop, InProcess(), name="shop", profiles_dir=shop.root) as dbt:
        result = dbt.run("build", "--nonsense")
    assert result.code == 2
    assert "--nonsense" in result.error


def _comparable(result: DbtResult) -> dict[str, object]:
    moving = {"seconds", "age", "max_loaded_at"}
    found = result.model_dump(exclude={"seconds", "target_path"})
    for key in ("nodes", "freshness"):
        found[key] = {
            each["unique_id"]: {k: v for k, v in each.items() if k not in moving}
            for each in found[key]
        }
    found["freshness"].pop("source.shop.raw.fresh", None)  # its age is said in seconds
    return found


def test_a_project_that_does_not_compile_says_why(tmp_path: Path) -> None:
    project = write_project(tmp_path, {"lost.sql": "select * from {{ ref('nowhere') }}"})
    errors = []
    for name in sorted(RUNNERS):
        with session(project, RUNNERS[name](), name="x", profiles_dir=tmp_path) as dbt:
            result = dbt.run("parse")
        assert (result.code, result.nodes) == (2, ())
        errors.append(result.error)
    assert "nowhere" in errors[0]
    assert errors[0] == errors[1]


def test_a_profile_that_is_not_there_is_an_error(shop: Project, tmp_path: Path) -> None:
    with session(shop, InProcess(), name="shop", profiles_dir=tmp_path, profile="no") as dbt:
        result = dbt.run("parse")
    assert result.code == 2
    assert "profile" in result.error.lower()


def test_a_model_that_fails_is_told_and_the_file_is_free(shop: Project, other: Other) -> None:
    with session(shop, InProcess(), name="shop", profiles_dir=shop.root) as dbt:
        assert dbt.run("run", "--select", "good").code == 0
        result = dbt.run("run", "--select", "broken+")
    assert [(n.name, n.status) for n in result.nodes] == [
        ("broken", "error"),
        ("after_broken", "skipped"),
    ]
    assert "Could not convert" in result.nodes[0].message
    assert result.nodes[0].failed
    assert other.count("main.good") == 2


def test_a_build_uses_what_was_parsed(shop: Project, tmp_path: Path) -> None:
    shutil.copytree(shop.root, tmp_path / "copy", ignore=shutil.ignore_patterns("target"))
    project = Project.read(tmp_path / "copy", {})
    with session(project, InProcess(), name="x", profiles_dir=project.root) as dbt:
        assert dbt.run("parse").code == 0
        assert "model.shop.good" in str(dbt.manifest())
        (project.root / "models" / "late.sql").write_text("select 1 as one")
        assert [n.name for n in dbt.run("run", "--select", "good", "late").nodes] == ["good"]
    with session(project, InProcess(), name="x", profiles_dir=project.root) as dbt:
        assert not dbt.manifest()
        assert {n.name for n in dbt.run("run", "--select", "late").nodes} == {"late"}


def test_the_process_is_left_as_found(
    shop: Project, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONDUIT_MARK", "1")
    root = logging.getLogger()
    state = lambda: (  # noqa: E731
        Path.cwd(), dict(os.environ), root.handlers[:], root.level, warnings.filters[:],
        warnings.showwarning, sys.stdout, sys.stderr, signal.getsignal(signal.SIGINT),
        logging.getLogger("file_log").handlers[:], logging.getLogger("stdout_log").handlers[:],
    )  # fmt: skip
    before = state()
    given = {"CONDUIT_MARK": "2", "CONDUIT_NEW": "3"}
    for command in ("parse", "run --nonsense"):
        with session(
            shop, InProcess(), name="shop", profiles_dir=shop.root, environment=given
        ) as dbt:
            dbt.run(*command.split())
    assert state() == before
    assert capfd.readouterr() == ("", "")


def test_other_threads_go_on_printing(capsys: pytest.CaptureFixture[str]) -> None:
    from conduit_dbt.in_process import _silence

    may_print, printed = threading.Event(), threading.Event()

    def other() -> None:
        may_print.wait(10)
        sys.stdout.write("from another load\n")
        printed.set()

    thread = threading.Thread(target=other)
    thread.start()
    with _silence():
        sys.stdout.write("from dbt\n")
        may_print.set()
        assert printed.wait(10)
    thread.join()
    sys.stdout.write("after\n")
    assert capsys.readouterr().out == "from another load\nafter\n"


def test_two_threads_run_one_after_the_other(shop: Project) -> None:
    results: list[DbtResult] = []

    def run() -> None:
        with session(shop, InProcess(), name="shop", profiles_dir=shop.root) as dbt:
            results.append(dbt.run("run", "--select", "good"))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert [r.code for r in results] == [0, 0]
    assert {n.status for r in results for n in r.nodes} == {"success"}


@pytest.fixture
def postgres(
    postgres_server: services.PostgresServer, tmp_path: Path
) -> Iterator[tuple[Project, Place]]:
    database = postgres_server.create_database()
    services.sql(database, SOURCES.format(now="now()"))
    role = postgres_server.role(database)
    services.sql(
        database, f"ALTER ROLE {role.name} PASSWORD '{CANARY.replace(chr(39), chr(39) * 2)}'"
    )
    services.sql(database, f"GRANT ALL ON SCHEMA public, raw TO {role.name}")
    services.sql(database, f"GRANT ALL ON ALL TABLES IN SCHEMA raw TO {role.name}")
    url = services.with_user(database, role.name, CANARY)
    project = write_project(tmp_path / "shop", MODELS)
    yield project, Place.postgres(url + "?options=-c%20work_mem%3D1MB", "public", {})
    services.sql(database, f"DROP OWNED BY {role.name}")
    postgres_server.drop_database(database)


def test_postgres_by_a_private_profile_keeps_the_secret(postgres: tuple[Project, Place]) -> None:
    project, place = postgres
    (project.root / "models" / "mem.sql").write_text("select current_setting('work_mem') as m")
    with from_destination(place, profile="shop", threads=2) as made:
        assert CANARY not in (made.folder / "profiles.yml").read_text()
        assert CANARY not in repr(made)
        with session(
            project, InProcess(), name="pg", profiles_dir=made.folder, environment=made.environment
        ) as dbt:
            built = dbt.run("build", "--exclude", "only_nines")
            failed = dbt.run("run", "--select", "nothing_there", "--target", "no")
            unsure = dbt.run("parse", "--target", "no such target")
    statuses = {n.name: n.status for n in built.nodes}
    assert statuses == {
        "good": "success", "child": "success", "broken": "error", "after_broken": "skipped",
        "not_null_good_id": "pass", "unique_good_id": "warn", "mem": "success",
    }  # fmt: skip
    assert {n.name: n.rows for n in built.nodes}["good"] == 2
    assert not made.folder.exists()
    assert not [n for n in os.environ if n.startswith("DBT_ENV_SECRET")]
    said = repr((built, failed, unsure)) + str([r.model_dump() for r in (built, failed, unsure)])
    assert "p'a" not in said
    for file in (project.root / "target").rglob("*"):
        text = file.read_bytes() if file.is_file() else b""
        assert b"p'a" not in text, file
        assert CANARY.replace('"', '\\"').encode() not in text, file


def _press_ctrl_c(sign: signal.Signals = signal.SIGINT) -> None:
    main = threading.main_thread().ident
    assert main is not None
    signal.siginterrupt(sign, True)
    signal.pthread_kill(main, sign)  # to the thread that waits, as the kernel does


def test_an_interrupt_ends_dbt_and_its_query(
    postgres: tuple[Project, Place], postgres_url: str
) -> None:
    project, place = postgres
    (project.root / "models" / "slow.sql").write_text(
        "{{ config(materialized='table') }} select pg_sleep(600) is null as a"
    )
    running = (
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'conduit dbt'"
        f" AND datname = '{place.values['dbname']}' AND query LIKE '%pg_sleep%'"
        " AND state = 'active'"
    )
    over = threading.Event()

    def interrupt() -> None:
        while not over.wait(0.05):
            if services.sql(postgres_url, running) == [(1,)]:
                _press_ctrl_c()
                return

    watcher = threading.Thread(target=interrupt)
    before = signal.getsignal(signal.SIGINT)
    with (
        from_destination(place, profile="shop") as made,
        session(
            project, InProcess(), name="pg", profiles_dir=made.folder, environment=made.environment
        ) as dbt,
    ):
        watcher.start()
        try:
            with pytest.raises(KeyboardInterrupt):
                dbt.run("run", "--select", "slow")
        finally:
            over.set()
            watcher.join()
    assert signal.getsignal(signal.SIGINT) == before
    assert services.sql(postgres_url, running) == [(0,)]


@pytest.mark.parametrize(
    ("deaf", "sign", "raised"),
    [
        (False, signal.SIGINT, KeyboardInterrupt),
        (True, signal.SIGINT, KeyboardInterrupt),
        (False, signal.SIGTERM, SystemExit),
    ],
)
def test_an_interrupt_ends_an_executable(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    deaf: bool,
    sign: signal.Signals,
    raised: type[BaseException],
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(invoke, "_END_SECONDS", 0.5 if deaf else 20)
    program = tmp_path / "dbt"
    program.write_text(
        f"#!/bin/sh\n{'trap true INT' if deaf else ''}\n"
        "mkfifo gate; echo $$ > pid; read line < gate; read line < gate\n"
    )
    program.chmod(0o755)
    project = write_project(tmp_path, {})
    over = threading.Event()

    def interrupt() -> None:
        while not over.wait(0.02):
            if (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip():
                _press_ctrl_c(sign)
                return

    watcher = threading.Thread(target=interrupt)
    watcher.start()
    try:
        with (
            session(project, Executable(str(program)), name="x", profiles_dir=tmp_path) as dbt,
            pytest.raises(raised),
        ):
            dbt.run("build")
    finally:
        over.set()
        watcher.join()
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
    assert signal.getsignal(signal.SIGTERM) == before


def test_an_executable_that_cannot_run_is_named(shop: Project, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("")
    text = tmp_path / "text"
    text.write_text("no program")
    text.chmod(0o755)
    wrong = {"no-such-dbt": "is not there", str(plain): "may not be executed", str(text): "run"}
    for path, message in wrong.items():
        with (
            session(shop, runner(path), name="x", profiles_dir=shop.root) as dbt,
            pytest.raises(ConfigError, match=message) as raised,
        ):
            dbt.run("build")
        assert path in str(raised.value)


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("echo no module named dbt >&2; exit 7", "dbt ended with code 7\nno module named dbt"),
        ("kill -9 $$", "dbt was killed by signal 9; is there enough memory?"),
        ("exit 0", "it ended well, but wrote no log and no results: is it a dbt?"),
    ],
)
def test_what_a_broken_executable_does_is_told(tmp_path: Path, script: str, told: str) -> None:
    program = tmp_path / "dbt"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    project = write_project(tmp_path, {})
    with session(project, Executable(str(program)), name="x", profiles_dir=tmp_path) as dbt:
        result = dbt.run("build")
    assert (result.code, result.error) == (2, told)


def test_a_missing_dbt_names_both_remedies(shop: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dbt.cli.main", None)
    with (
        session(shop, InProcess(), name="x", profiles_dir=shop.root) as dbt,
        pytest.raises(ConfigError, match=r"conduit-dbt\[dbt\].*executable:"),
    ):
        dbt.run("build")


def test_importing_us_imports_no_dbt() -> None:
    code = (
        "import sys, conduit_dbt.session, conduit_dbt.in_process, conduit_dbt.private_profile;"
        "print([m for m in ('dbt', 'duckdb', 'psycopg2', 'jinja2') if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ran.stdout.strip() == "[]"


@pytest.mark.slow
def test_an_old_dbt_in_another_environment(
    postgres: tuple[Project, Place], pytestconfig: pytest.Config
) -> None:
    """The environment is pytest's to keep: installing it takes longer than all else here."""
    project, place = postgres
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    if not Path(uv).exists():
        pytest.skip("uv isn't installed: `make setup` installs it")
    home = pytestconfig.cache.mkdir(f"dbt-1.8-{sys.version_info[0]}.{sys.version_info[1]}")
    python = str(home / "bin" / "python")
    install = ["pip", "install", "--compile-bytecode", "--python", python]
    for command in (
        ["venv", "--allow-existing", "--python", sys.executable, str(home)],
        [*install, "dbt-core==1.8.*", "dbt-postgres"],
    ):
        done = subprocess.run([uv, *command], check=False, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"dbt-core 1.8 can't be installed: {done.stderr.strip()[-300:]}")
    results = []
    for dbt in (Executable(str(home / "bin" / "dbt")), InProcess()):
        with (
            from_destination(place, profile="shop") as made,
            session(
                project,
                dbt,
                name="old",
                profiles_dir=made.folder,
                environment=made.environment,
                variables={"a": 1},
            ) as opened,
        ):
            assert opened.run("parse").code == 0
            results.append((opened.run("build"), opened.run("source freshness")))
    (old, old_fresh), (new, new_fresh) = results
    assert old.dbt_version.startswith("1.8.")
    assert {n.unique_id: n.status for n in old.nodes} == {n.unique_id: n.status for n in new.nodes}
    fresh = [{f.name: f.status for f in each.freshness} for each in (old_fresh, new_fresh)]
    assert fresh[0] == fresh[1]
    assert len(fresh[0]) == 5
