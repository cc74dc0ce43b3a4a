"""Where a case is played: its source, its destination, and the pipeline file between them."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests import services
from tests.conformance.cases import TABLE, Case, Scene, stream_of
from tests.conformance.picture import Picture, picture
from tests.crash.systems import DuckDB, Postgres, SQLite, System


class Place:
    """A folder with the source and the pipeline file of a case, and its empty destination.

    Args:
        folder: where all is; a DuckDB or SQLite destination, too.
        case: what is played.
        url: an empty PostgreSQL database, where the case wants one.
    """

    def __init__(self, folder: Path, case: Case, url: str | None = None) -> None:
        self.folder = folder
        self.case = case
        self.system: System
        if case.destination == "postgres":
            assert url is not None
            self.system = Postgres(url)
        else:
            self.system = {"duckdb": DuckDB, "sqlite": SQLite}[case.destination](folder)
        self.url = url
        self.file = folder / "pipeline.yml"
        self._keys: dict[str, object] = {}
        self._now = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
        self._source("CREATE SCHEMA src" if url else "", *TABLE)
        self.write()

    @property
    def targets(self) -> list[str]:
        """The names of the case's targets, in the order of its streams."""
        return [stream["into"] for stream in self.mapping["streams"]]

    @property
    def mapping(self) -> dict[str, Any]:
        """The pipeline, as the file has it now."""
        over = [self._keys, *({} for _ in self.case.streams[1:])]
        streams = [
            stream_of(self.case, *each) for each in zip(self.case.streams, over, strict=True)
        ]
        to = dict(self.system.config())
        if self.case.is_spread and self.url is None:
            to["staging"] = str(self.folder / "staging")
        made = {
            "name": self.case.name,
            "source": self._reads(),
            "destination": to,
            "streams": streams,
        }
        made["on_error"] = self.case.on_error
        if self.case.dbt:
            made["after"] = {"dbt": {"project_dir": "dbt", "profile": "from_destination"}}
        return made

    def write(self) -> None:
        """Write the pipeline's file."""
        self.file.write_text(json.dumps(self.mapping))

    def change(self, scene: Scene) -> None:
        """Make the changes that a scene begins with, but for the edit, which is the runner's."""
        self._source(*scene.change)
        self._keys.update(scene.keys)
        self._now += 3600
        for name, text in scene.files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.replace("PREFIX", self.case.name))
            os.utime(path, (self._now, self._now))
        self.write()

    def look(self) -> Picture:
        """Return what is in the destination now."""
        return picture(self.system)

    def close(self) -> None:
        """Let go of the destination."""
        if isinstance(self.system, DuckDB):
            self.system.close()

    def _reads(self) -> dict[str, str]:
        if self.url:
            return {"type": "postgres", "url": self.url}
        if self.case.source == "csv":
            return {"type": "csv", "path": str(self.folder / "data")}
        return {"type": "sqlite", "path": str(self.folder / "source.db")}

    def _source(self, *statements: str) -> None:
        wanted = [each for each in statements if each]
        if self.url is not None:
            for each in wanted:
                services.sql(self.url, f"SET search_path TO src; {each}")
            return
        with closing(sqlite3.connect(self.folder / "source.db")) as connection, connection:
            for each in wanted:
                connection.execute(each)


def cursor_at(entry: Mapping[str, str], values: str) -> dict[str, str]:
    """Return a state's entry whose cursor a person has set, its seal left as it was."""
    columns: Sequence[dict[str, Any]] = json.loads(entry["cursor"])
    edited = [
        {**column, "value": value} for column, value in zip(columns, values.split(","), strict=True)
    ]
    return {**entry, "cursor": json.dumps(edited, separators=(",", ":"))}
