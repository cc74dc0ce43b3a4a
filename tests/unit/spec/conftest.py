"""What the tests of the pipeline file share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from conduit_core.errors import ConfigError
from conduit_core.spec import LoadedSpec, load_spec

Load = Callable[..., LoadedSpec]
Refused = Callable[..., str]

HEAD = """\
name: shop
source: {type: postgres, url: "postgres://h/db"}
destination: {type: duckdb, path: warehouse.duckdb, schema: raw}
"""


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Write a pipeline file and load it."""

    def write(
        text: str, env: Mapping[str, str] | None = None, name: str = "pipeline.yml"
    ) -> LoadedSpec:
        (tmp_path / name).write_text(text, encoding="utf-8")
        return load_spec(tmp_path / name, env=env or {})

    return write


@pytest.fixture
def refused(load: Load) -> Refused:
    """Load a wrong pipeline file and return the error's message."""

    def check(text: str, env: Mapping[str, str] | None = None, name: str = "pipeline.yml") -> str:
        with pytest.raises(ConfigError) as caught:
            load(text, env, name)
        assert caught.value.exit_code == 2
        assert len(caught.value.lines()) == 4
        assert caught.value.command is not None
        assert caught.value.command.startswith("conduit ")
        return caught.value.message

    return check
