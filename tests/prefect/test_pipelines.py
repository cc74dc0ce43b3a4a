"""What ``pipeline=`` may be: a path, a mapping, a block or a Pipeline; and what it may not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conduit_core import Pipeline
from conduit_core.errors import ConfigError
from prefect_conduit import ConduitPipeline
from prefect_conduit.pipelines import opened
from tests.prefect.shop import Shop


@pytest.fixture
def here(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """The shop in the working directory, which is home, too; its paths are relative."""
    (shop.folder / "jobs").mkdir()
    monkeypatch.chdir(shop.folder)
    monkeypatch.setenv("HOME", str(shop.folder))
    return shop


def relative(shop: Shop, source: str = "shop.db") -> dict[str, Any]:
    return {**shop.mapping, "source": {"type": "sqlite", "path": source}}


def test_paths_are_relative_to_where_they_stand(here: Shop) -> None:
    """The pipeline's to the working directory; those in a file to its folder."""
    file = here.folder / "jobs" / "shop.yml"
    file.write_text(json.dumps(relative(here, "../shop.db")))
    given: list[Any] = [
        "jobs/shop.yml",
        Path("jobs/shop.yml"),
        "~/jobs/shop.yml",
        str(file),
        relative(here),
        ConduitPipeline(path="jobs/shop.yml"),
        ConduitPipeline(content=relative(here)),
        Pipeline.from_file(file),
    ]
    for each in given:
        found = opened(each)
        assert found.name == here.name
        with found.open() as ends:
            assert ends.source.discover()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("nowhere.yml", "there is no nowhere.yml in .*ls -l"),
        ("jobs", "jobs: is a folder; name the file in it"),
        ("jobs/empty.yml", "empty.yml"),
        ({"name": "shop", "sauce": {}}, "source"),
        ({}, "is empty"),
        (3, "not int"),
        (None, "not NoneType"),
    ],
)
def test_what_is_no_pipeline_is_told_by_name(here: Shop, given: Any, told: str) -> None:
    (here.folder / "jobs" / "empty.yml").touch()
    with pytest.raises(ConfigError, match=f"(?s){told}"):
        opened(given)
