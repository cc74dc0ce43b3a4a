from __future__ import annotations

import sys
from pathlib import Path

import pytest

import airflow_provider_conduit
from airflow_provider_conduit.asked import names_of
from conduit_core.errors import ConfigError


@pytest.mark.parametrize("value", [None, "", "None", "null", " "])
def test_nothing_given_is_no_choice(value: object) -> None:
    assert names_of("chosen", value) is None


@pytest.mark.parametrize("value", [["a", "b"], ("a", "b"), '["a", "b"]'])
def test_names_are_a_list_or_its_json(value: object) -> None:
    assert names_of("chosen", value) == ("a", "b")


@pytest.mark.parametrize("value", ["a, b", "{{ params.x }}", [1], {"a": 1}, 5, "5", '{"a": 1}'])
def test_anything_else_is_an_error_that_says_what_to_write(value: object) -> None:
    with pytest.raises(ConfigError, match=r"must be a list of texts.*tojson"):
        names_of("chosen", value)


def test_no_module_has_the_name_of_a_library_that_a_task_imports() -> None:
    """Whoever has our folder in `sys.path` and imports `requests` must not get ours."""
    (folder,) = airflow_provider_conduit.__path__
    names = {file.stem for file in Path(folder).glob("[a-z]*.py")}
    assert "asked" in names
    assert names & {"requests", *sys.stdlib_module_names} == set()
