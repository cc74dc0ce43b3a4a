from __future__ import annotations

import io
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from conduit_core.connectors.objects import ObjectStore
from tests.objects.conftest import Place

MEBIBYTE = 1024 * 1024
NAMES = ("plain.json", "ünï/日本/😀.json", "with space", "per%20cent", "hash#?&=+.json", "a'\"b;c")


class TestObjectStore:
    """What every store must do, over a folder and over the stand-ins of three clouds."""

    @pytest.fixture
    def store(self, place: Place) -> ObjectStore:
        return place.open()

    def test_what_is_put_can_be_got(self, store: ObjectStore) -> None:
        assert store.get("a/b") is None
        assert store.put("a/b", b"one")
        assert store.get("a/b") == b"one"
        assert store.put("a/b", b"two")
        assert store.put("empty", b"")
        assert (store.get("a/b"), store.get("empty")) == (b"two", b"")

    def test_create_takes_nothing_away(self, store: ObjectStore) -> None:
        assert store.put("a/b", b"first", create=True)
        assert not store.put("a/b", b"second", create=True)
        assert store.get("a/b") == b"first"
        assert [e.path for e in store.entries()] == ["a/b"]

    def test_of_eight_that_create_at_once_one_wins(self, place: Place) -> None:
        stores = [place.open() for _ in range(8)]
        for round_ in range(5):
            gate = threading.Barrier(8)

            def create(
                number: int, gate: threading.Barrier = gate, path: str = f"race/{round_}"
            ) -> bool:
                gate.wait()
                return stores[number].put(path, str(number).encode(), create=True)

            with ThreadPoolExecutor(8) as pool:
                won = list(pool.map(create, range(8)))
            assert won.count(True) == 1
            assert stores[0].get(f"race/{round_}") == str(won.index(True)).encode()
        assert len(stores[0].entries()) == 5
        assert stores[0].unfinished() == []

    @pytest.mark.parametrize("name", NAMES)
    def test_names_are_taken_as_they_are(self, store: ObjectStore, name: str) -> None:
        assert store.put(name, b"x", create=True)
        assert not store.put(name, b"y", create=True)
        assert store.get(name) == b"x"
        assert [e.path for e in store.entries()] == [name]
        store.delete([name])
        assert store.entries() == []

    @pytest.mark.parametrize("path", ["", "/a", "a//b", "../a", "a/../b", "."])
    def test_a_path_that_leaves_the_root_is_refused(self, place: Place, path: str) -> None:
        store = place.open("/inner")
        with pytest.raises(ValueError, match="not a path below the root"):
            store.put(path, b"x")
        assert place.open().entries() == []

    def test_entries_lists_a_folder(self, store: ObjectStore) -> None:
        before = datetime.now(UTC) - timedelta(minutes=1)
        for path in ("b/2", "b/1", "b/c/3", "bc/4", "a"):
            store.put(path, b"12345")
        assert [e.path for e in store.entries()] == ["a", "b/1", "b/2", "b/c/3", "bc/4"]
        found = store.entries("b")
        assert [e.path for e in found] == ["b/1", "b/2", "b/c/3"]
        assert {e.size for e in found} == {5}
        assert all(before < e.modified < datetime.now(UTC) + timedelta(minutes=1) for e in found)
        assert store.entries("nowhere") == []

    def test_delete_is_idempotent(self, store: ObjectStore) -> None:
        for path in ("a/1", "a/2", "b"):
            store.put(path, b"x")
        store.delete(["missing/too", "a/1", "a/2", "a/3"])
        store.delete(["a/1"])
        store.delete([])
        assert [e.path for e in store.entries()] == ["b"]

    def test_stores_side_by_side_never_meet(self, place: Place) -> None:
        one, other = place.open("/one"), place.open("/one2")
        one.put("x", b"1")
        other.put("x", b"2")
        other.delete(["x"])
        assert one.get("x") == b"1"
        assert [e.path for e in one.entries()] == ["x"]
        assert one.identity != other.identity

    def test_20_mebibytes_are_streamed(self, store: ObjectStore) -> None:
        block = os.urandom(MEBIBYTE)
        with store.writer("big") as stream:
            for number in range(20):
                stream.write(number.to_bytes(4, "big"))
                stream.write(block)
        found = store.get("big")
        assert found == b"".join(n.to_bytes(4, "big") + block for n in range(20))

    def test_a_buffer_may_be_used_again(self, store: ObjectStore) -> None:
        buffer = bytearray(MEBIBYTE)
        with store.writer("big") as stream:
            for number in range(12):
                buffer[:] = bytes([number]) * MEBIBYTE
                stream.write(memoryview(buffer))
        assert store.get("big") == b"".join(bytes([n]) * MEBIBYTE for n in range(12))

    def test_a_writer_replaces(self, store: ObjectStore) -> None:
        store.put("a", b"old")
        with store.writer("a") as stream:
            assert store.get("a") == b"old"
            stream.write(b"new")
        assert store.get("a") == b"new"
        with store.writer("a"):
            pass
        assert store.get("a") == b""

    @pytest.mark.parametrize("size", [0, 3, 20 * MEBIBYTE])
    def test_a_writer_that_fails_leaves_nothing(self, store: ObjectStore, size: int) -> None:
        store.put("old", b"old")
        for path in ("new", "old"):
            with pytest.raises(KeyError), store.writer(path) as stream:  # noqa: PT012
                for _ in range(0, size, MEBIBYTE):
                    stream.write(bytes(min(size, MEBIBYTE)))
                raise KeyError
        assert [e.path for e in store.entries()] == ["old"]
        assert store.get("old") == b"old"
        assert store.unfinished() == []

    def test_a_reader_has_random_access(self, store: ObjectStore) -> None:
        data = os.urandom(3 * MEBIBYTE + 17)
        store.put("a", data)
        with store.reader("a") as stream:
            assert stream.seek(2 * MEBIBYTE) == 2 * MEBIBYTE
            assert stream.read(100) == data[2 * MEBIBYTE :][:100]
            assert stream.seek(-17, io.SEEK_END) == len(data) - 17
            assert stream.read() == data[-17:]
            assert stream.read(1) == b""
            stream.seek(5)
            assert stream.read(2 * MEBIBYTE) == data[5:][: 2 * MEBIBYTE]
            assert stream.tell() == 5 + 2 * MEBIBYTE

    def test_a_reader_of_nothing(self, store: ObjectStore) -> None:
        with pytest.raises(FileNotFoundError):
            store.reader("a/b")

    def test_parquet_and_csv_go_through(self, store: ObjectStore) -> None:
        rows = 400_000
        table = pa.table({"n": range(rows), "text": [f"é{n}" for n in range(rows)]})
        with store.writer("t.parquet") as stream:
            parquet.write_table(table, stream)
        with store.writer("t.csv") as stream:
            csv.write_csv(table, stream)
        with store.reader("t.parquet") as stream:
            assert parquet.read_table(stream).equals(table)
        with store.reader("t.csv") as stream:
            assert csv.read_csv(stream).equals(table)
