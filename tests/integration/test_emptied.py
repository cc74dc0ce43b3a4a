"""What the ledger remembers of rows that are gone, and rows that it doesn't know of."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from conduit_core import Pipeline, RunRequest, read, run
from conduit_core.engine import admin
from conduit_core.errors import GuardError, StateError
from tests.lab import Lab, only, stream


@pytest.fixture
def sliced(lab: Lab) -> Lab:
    """Rows 0 to 9 at the source; 0 to 5 loaded, then the slice [6, 8)."""
    lab.orders(range(10))
    lab.run(window_to="5")
    lab.run(window_from="6", window_to="8")
    return lab


def test_a_full_refresh_forgets_the_slices_that_it_replaced(sliced: Lab) -> None:
    sliced.run(full_refresh=True, window_to="4")
    sliced.run()
    assert sliced.ids() == list(range(10))


def test_a_reset_forgets_the_slices_that_it_deleted(sliced: Lab) -> None:
    admin.state_reset(sliced.pipeline(), "orders", replace_after=True)
    assert admin.state_show(sliced.pipeline())[0].slices == ()
    sliced.run()
    assert sliced.ids() == list(range(10))


def test_a_watermark_set_back_forgets_the_slices_that_it_deleted(sliced: Lab) -> None:
    admin.state_set(sliced.pipeline(), "orders", "3", replace_after=True)
    sliced.run()
    assert sliced.ids() == list(range(10))


def test_a_watermark_set_forward_keeps_them_in_mind(sliced: Lab) -> None:
    admin.state_set(sliced.pipeline(), "orders", "6", skip=True)
    with pytest.raises(StateError, match="overlaps"):
        sliced.run()


# --- rows that the ledger doesn't know of -----------------------------------------------------


def test_an_append_from_the_start_wants_an_empty_target(each_lab: Lab) -> None:
    """Loaded whole, then made incremental: the first increment would be all rows again."""
    each_lab.orders(range(3))
    each_lab.run(each_lab.pipeline(stream(mode="replace", cursor=None)))
    with pytest.raises(GuardError, match="--full-refresh") as caught:
        each_lab.run()
    assert "state set" in caught.value.message
    assert each_lab.ids() == [0, 1, 2]
    admin.state_set(each_lab.pipeline(), "orders", "2", skip=True)
    each_lab.orders([3])
    each_lab.run()
    assert each_lab.ids() == [0, 1, 2, 3]


def test_a_lost_ledger_does_not_double_the_rows(duckdb_lab: Lab) -> None:
    lab = duckdb_lab
    import duckdb

    lab.orders(range(3))
    lab.run()
    with duckdb.connect(str(lab.file)) as connection:
        connection.execute("DROP TABLE _conduit_ledger")
    with pytest.raises(GuardError):
        lab.run()
    assert lab.ids() == [0, 1, 2]
    lab.run(full_refresh=True)
    lab.orders([3])
    lab.run()
    assert lab.ids() == [0, 1, 2, 3]


def test_an_empty_target_made_by_hand_is_filled(duckdb_lab: Lab) -> None:
    lab = duckdb_lab
    import duckdb

    lab.orders(range(3))
    with duckdb.connect(str(lab.file)) as connection:
        connection.execute('CREATE TABLE orders (v VARCHAR, "at" TIMESTAMP, id BIGINT)')
    pipeline = lab.pipeline(stream(metadata=[]))
    lab.run(pipeline)
    assert lab.ids() == [0, 1, 2]


def test_an_append_under_a_key_fills_up_a_table_that_was_there(duckdb_lab: Lab) -> None:
    """A runner always sends a key, and people let it append to tables that others have begun.

    So nothing can tell that such a table's ledger was lost: its rows come once more.
    """
    lab = duckdb_lab
    import duckdb

    lab.orders(range(2))
    pipeline = lab.pipeline(stream(cursor=None))
    lab.run(pipeline, request_key="a")
    assert lab.run(pipeline, request_key="a").outcome == "replayed"
    with duckdb.connect(str(lab.file)) as connection:
        connection.execute("DROP TABLE _conduit_ledger")
    lab.run(pipeline, request_key="a")
    assert lab.ids() == [0, 0, 1, 1]


# --- files ------------------------------------------------------------------------------------


class Folder:
    """CSV files that are appended by the file cursor."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, *ids: int, at: float) -> None:
        file = self.folder / name
        file.write_text("".join(f"{i}\n" for i in ("id", *ids)))
        os.utime(file, (1_700_000_000 + at, 1_700_000_000 + at))

    def pipeline(self, **keys: object) -> Pipeline:
        cursor = ["_file_modified", "_file_path"]
        made = {"path": "*.csv", "name": "ids", "mode": "append", "cursor": cursor, **keys}
        return Pipeline.from_mapping(
            {
                "name": "shop",
                "source": {"type": "csv", "path": "."},
                "destination": {"type": "duckdb", "path": "warehouse.duckdb"},
                "streams": [made],
            },
            self.folder,
        )

    def load(self, full_refresh: bool = False, **keys: object) -> list[int]:
        """Run, and return the target's ids."""
        pipeline = self.pipeline(**keys)
        only(run(pipeline, request=RunRequest(full_refresh=full_refresh)))
        with read(pipeline, "ids") as reader:
            return sorted(reader.read_all().column("id").to_pylist())


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(tmp_path)
    made.write("a.csv", 1, 2, at=0.5)
    return made


def test_a_full_refresh_remembers_its_files(folder: Folder) -> None:
    assert folder.load(full_refresh=True) == [1, 2]
    folder.write("a.csv", 1, 2, 3, at=9.5)
    with pytest.raises(StateError, match=r"a\.csv"):
        folder.load()


def test_a_full_refresh_forgets_files_that_were_gone(folder: Folder) -> None:
    folder.load()
    (folder.folder / "a.csv").rename(folder.folder / "a.gone")
    folder.write("b.csv", 3, at=1.5)
    assert folder.load(full_refresh=True) == [3]
    (folder.folder / "a.gone").rename(folder.folder / "a.csv")
    folder.write("a.csv", 1, 2, at=2.5)
    assert folder.load() == [1, 2, 3]


def test_a_reset_forgets_the_files_that_it_deleted(folder: Folder) -> None:
    folder.load()
    admin.state_reset(folder.pipeline(), "ids", replace_after=True)
    assert folder.load() == [1, 2]


def test_files_that_no_load_remembered_are_not_appended_to(folder: Folder) -> None:
    """Under replace no file is remembered, so a changed one couldn't be told from a new one."""
    folder.load(mode="replace")
    folder.write("a.csv", 1, 2, 3, at=9.5)
    with pytest.raises(StateError, match="remember") as caught:
        folder.load()
    assert "--full-refresh" in (caught.value.command or "")
    assert folder.load(full_refresh=True) == [1, 2, 3]


def test_files_are_known_by_time_and_path_alone(folder: Folder) -> None:
    """What docs/guarantees.md says is not seen: an equal time below the path, a time that stays."""
    folder.write("b.csv", 3, at=1.0)
    assert folder.load() == [1, 2, 3]
    folder.write("aa.csv", 4, at=1.0)
    folder.write("b.csv", 3, 5, at=1.0)
    assert folder.load() == [1, 2, 3]
    folder.write("aa.csv", 4, at=2.0)
    assert folder.load() == [1, 2, 3, 4]
    folder.write("b.csv", 3, 5, at=3.0)
    with pytest.raises(StateError, match="changed since loaded"):
        folder.load()
