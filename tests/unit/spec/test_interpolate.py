from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conduit_core.spec.document import parse_yaml
from conduit_core.spec.interpolate import interpolate


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${A}", "a"),
        ("x${A}y${A}", "xaya"),
        ("${A:-d}", "a"),
        ("${NO:-d}", "d"),
        ("${NO:-}", ""),
        ("${NO:-a:-b}", "a:-b"),
        ("${EMPTY}", ""),
        ("${EMPTY:-d}", "d"),
        ("$${A}", "${A}"),
        ("$A", "$A"),
        ("100%$", "100%$"),
        ("^a$", "^a$"),
    ],
)
def test_references_are_filled_in(text: str, expected: str) -> None:
    result = interpolate({"k": text}, {"A": "a", "EMPTY": ""})
    assert result.data == {"k": expected}
    assert result.problems == []


def test_a_value_is_not_interpolated_again() -> None:
    assert interpolate("${A}", {"A": "${B}", "B": "b"}).data == "${B}"


def test_keys_and_other_types_are_left_alone() -> None:
    assert interpolate({"${A}": 1, "b": None}, {"A": "a"}).data == {"${A}": 1, "b": None}


def test_where_a_value_came_from_the_environment_is_noted() -> None:
    result = interpolate({"a": ["x", "${A}"], "b": "$${A}"}, {"A": "a"})
    assert result.from_env == {("a", 1)}


@given(st.text())
def test_a_value_never_changes_the_structure(value: str) -> None:
    text = "name: ${V}\nsource: {type: postgres, url: '${V}'}\nstreams: [\"${V}\", b]\n"
    result = interpolate(parse_yaml(text, "p").data, {"V": value})
    assert result.data == {
        "name": value,
        "source": {"type": "postgres", "url": value},
        "streams": [value, "b"],
    }


@given(st.text(alphabet="${}:-AB \n", max_size=40))
def test_any_text_is_filled_in_or_told(text: str) -> None:
    result = interpolate({"k": text}, {"A": "a"})
    assert result.problems or isinstance(result.data, dict)
    assert "${A}" not in str(result.data) or "$${" in text
