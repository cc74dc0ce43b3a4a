"""A lab whose loads are spread out: four splits, staging beside the destination."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conduit_core import Pipeline
from conduit_core.connectors.staging import StageReceipt
from tests import services
from tests.lab import DESTINATIONS, Lab, stream


class SpreadLab(Lab):
    """SQLite to a destination, in four splits by ``id``."""

    def __init__(self, folder: Path, destination: str = "duckdb") -> None:
        super().__init__(folder, destination)
        self.staging = folder / "staging"
        if self.file_based:
            self.destination["staging"] = "staging"

    @property
    def file_based(self) -> bool:
        """Whether rows wait in ``staging:``."""
        return self.destination["type"] != "postgres"

    def stream(self, **keys: object) -> dict[str, object]:
        """Return the stream; ``keys`` are laid over it."""
        return {**stream(), "splits": {"count": 4, "column": "id"}, **keys}

    def pipeline(self, *streams: dict[str, object], **keys: object) -> Pipeline:
        """Return a pipeline; without streams, one that appends ``orders`` in four splits."""
        return super().pipeline(*(streams or (self.stream(),)), **keys)

    def write_file(self) -> Path:
        """Write the pipeline as a file."""
        path = self.folder / "pipeline.yml"
        path.write_text(
            json.dumps(
                {
                    "name": "shop",
                    "source": {"type": "sqlite", "path": self.source.name},
                    "destination": self.destination,
                    "streams": [self.stream()],
                }
            )
        )
        return path

    def elsewhere(self) -> Path:
        """Return a folder that has nothing to do with the load."""
        path = self.folder / "elsewhere"
        path.mkdir(exist_ok=True)
        return path

    def staged(self) -> list[str]:
        """Return what lies in staging: relations, receipts and plans, or files of any kind."""
        if self.file_based:
            files = [p for p in self.staging.rglob("*") if p.is_file()]
            return sorted(p.name for p in files if p.name != "probe.json")
        url = str(self.destination["url"])
        found = services.sql(
            url, "SELECT relname FROM pg_class WHERE relname LIKE '\\_conduit\\_stage\\_%'"
        )
        held = services.sql(url, "SELECT plan_id FROM _conduit_open_loads")
        held += services.sql(url, "SELECT plan_id FROM _conduit_receipts")
        return sorted(str(name) for (name,) in [*found, *held])

    def lose_rows(self, receipt: StageReceipt) -> None:
        """Take away some of the rows of a receipt."""
        if self.file_based:
            (path,) = self.staging.rglob(Path(receipt.places[0]).name)
            path.unlink()
            return
        (place,) = receipt.places
        services.sql(str(self.destination["url"]), f'DELETE FROM "{place}" WHERE id % 2 = 0')


@pytest.fixture(params=DESTINATIONS)
def spread_lab(request: pytest.FixtureRequest, tmp_path: Path) -> SpreadLab:
    """Four splits from SQLite to each destination."""
    name: Any = request.param
    return SpreadLab(
        tmp_path, request.getfixturevalue("postgres_database") if name == "postgres" else name
    )
