"""node_exporter's textfile: it adds up over runs and processes, and is never torn by us."""

from __future__ import annotations

import fcntl
import multiprocessing
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from conduit_core.observe import observing as watch
from conduit_core.observe.textfile import END, HEAD
from tests.observe.servers import series
from tests.observe.told import broken, failed, finished, seen, told

READ = (("kind", "read"), ("pipeline", "shop"), ("stream", "orders"))


def _read(file: Path) -> float:
    return series(file.read_text(), "conduit_rows_total")[READ]


def test_p26_values_add_up_over_runs(tmp_path: Path) -> None:
    file = tmp_path / "conduit.prom"
    assert told(f"textfile://{file}", finished(rows=10), broken(), seen()) == []
    first = file.read_text()
    assert told(f"textfile://{file}", finished(rows=5), failed()) == []
    assert _read(file) == 15
    text = file.read_text()
    assert "canary" not in text
    assert text.count("# TYPE") == len(set(text.split("# TYPE ")[1:]))
    lag = (("pipeline", "shop"), ("stream", "orders"))
    assert series(text, "conduit_source_lag_seconds") == {lag: 7200}
    took = series(text, "conduit_load_duration_seconds_bucket")
    assert took[(("le", "2.5"), ("outcome", "published"), *lag)] == 2
    assert first != text
    assert sorted(p.name for p in tmp_path.iterdir()) == [".conduit.prom.lock", "conduit.prom"]


def test_a_relative_path_and_a_blank_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert told("textfile:conduit.prom", finished()) == []
    assert _read(tmp_path / "conduit.prom") == 10
    (tmp_path / "a b").mkdir()
    assert told(f"textfile://{tmp_path}/a%20b/c.prom", finished()) == []
    assert _read(tmp_path / "a b" / "c.prom") == 10


def test_a_run_that_measured_nothing_writes_nothing(tmp_path: Path) -> None:
    assert told(f"textfile://{tmp_path}/conduit.prom") == []
    assert list(tmp_path.iterdir()) == []


def _many(file: str, times: int) -> None:
    for _ in range(times):
        assert told(f"textfile://{file}", finished(rows=3)) == []


def test_processes_at_once_lose_nothing(tmp_path: Path) -> None:
    file = tmp_path / "conduit.prom"
    # not forks: who forks a process that has imported Prefect gets its exit code, 1
    spawn = multiprocessing.get_context("spawn")
    both = [spawn.Process(target=_many, args=(str(file), 10)) for _ in range(2)]
    for process in both:
        process.start()
    while any(process.is_alive() for process in both):
        if file.exists():  # readers see it whole, always
            assert file.read_text().endswith(END)
    assert [process.exitcode for process in both] == [0, 0]
    assert _read(file) == 60


def test_promtool_has_nothing_to_say(tmp_path: Path) -> None:
    file = tmp_path / "conduit.prom"
    told(f"textfile://{file}", finished(), broken(), failed(), seen())
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool on PATH: apt install prometheus")
    with file.open() as text:
        done = subprocess.run(
            [promtool, "check", "metrics"], check=False, stdin=text, capture_output=True, text=True
        )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# --- bad input ------------------------------------------------------------------------------------

WHOLE = f'{HEAD}# TYPE conduit_stale gauge\nconduit_stale{{pipeline="a",stream="b"}} 1\n{END}'
FOREIGN = {
    "another's": ("node_load1 3\n", "conduit didn't write it"),
    "empty": ("", "conduit didn't write it"),
    "torn": (WHOLE[:-10], "its end is missing"),
    "more in it": (WHOLE.replace(END, f"node_load1 3\n{END}"), "it holds node_load1"),
    "no numbers": (WHOLE.replace("} 1", "} one"), "could not convert"),
}


@pytest.mark.parametrize("name", list(FOREIGN))
def test_what_is_not_ours_is_left_as_it_is(tmp_path: Path, name: str) -> None:
    text, why = FOREIGN[name]
    file = tmp_path / "conduit.prom"
    file.write_text(text)
    (said,) = told(f"textfile://{file}", finished())
    assert f"{file} is left as it is: {why}" in said
    assert "move it away, or give another file" in said
    assert file.read_text() == text


def test_bytes_that_are_no_text_are_left_too(tmp_path: Path) -> None:
    file = tmp_path / "conduit.prom"
    file.write_bytes(b"\xff\xfe")
    (said,) = told(f"textfile://{file}", finished())
    assert "is left as it is: it isn't text" in said
    assert file.read_bytes() == b"\xff\xfe"


def test_numbers_of_another_version_are_not_added_to(tmp_path: Path) -> None:
    file = tmp_path / "conduit.prom"
    old = (
        'conduit_loads_total{pipeline="shop"} 7\nconduit_gone_total 3\n'
        'conduit_load_duration_seconds_bucket{le="77",outcome="x",pipeline="a",stream="b"} 1\n'
    )
    file.write_text(WHOLE.replace(END, old + END))
    assert told(f"textfile://{file}", finished()) == []
    text = file.read_text()
    assert "conduit_gone" not in text
    assert '"77"' not in text
    assert series(text, "conduit_stale") == {(("pipeline", "a"), ("stream", "b")): 1}


def test_a_folder_that_isn_t_there(tmp_path: Path) -> None:
    (said,) = told(f"textfile://{tmp_path}/none/conduit.prom", finished())
    assert "was not told: there is no folder" in said


def test_a_lock_that_is_held_ends_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "CLOSE_SECONDS", 0.3)
    file = tmp_path / "conduit.prom"
    with (tmp_path / ".conduit.prom.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        started = time.monotonic()
        (said,) = told(f"textfile://{file}", finished())
    assert time.monotonic() - started < 2
    assert f"another process holds {file}" in said
    assert told(f"textfile://{file}", finished()) == []


@pytest.mark.parametrize("to", ["textfile:", "textfile:///tmp/x.txt", "textfile://tmp/x.prom"])
def test_a_wrong_url_says_what_to_write(to: str) -> None:
    (said,) = told(to, finished())
    assert "a textfile is `textfile:///folder/conduit.prom`, with three slashes" in said
