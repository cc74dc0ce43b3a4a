"""What is wrong with a rule or a step of a pipeline file is said in the file's words."""

from __future__ import annotations

import pytest

from conduit_core.errors import ConfigError
from conduit_core.spec.load import spec_from_mapping


def _refused(**stream: object) -> str:
    with pytest.raises(ConfigError) as caught:
        spec_from_mapping(
            {
                "name": "shop",
                "source": "sqlite:///a.db",
                "destination": "duckdb:///b.db",
                "streams": [{"table": "orders", **stream}],
            },
            env={"WORD": "hidden.word"},
        )
    return caught.value.message


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        (
            {"rule": "custom", "function": "shop_rules.daytime"},
            "`function` must be written package.module:name, did you mean shop_rules:daytime?",
        ),
        (
            {"rule": "pandera", "model": "shop.frames.Orders"},
            "`model` must be written package.module:name, did you mean shop.frames:Orders?",
        ),
        (
            {"rule": "custom", "function": "daytime"},
            "`function` must be written package.module:name; it is 'daytime'",
        ),
        (
            {"rule": "not_nul", "column": "id"},
            "unknown rule 'not_nul', did you mean 'not_null'? known: not_null, unique, range,",
        ),
        ({"rule": "zzz"}, "unknown rule 'zzz'; known: not_null, unique, range,"),
        ({"not_null": "id"}, "needs `rule:`, for example {rule: not_null, column: id}"),
        (
            {"rule": "range", "column": "amount", "minimum": 0},
            "unknown key `minimum`; did you mean `min`? `range` takes action, column, columns,",
        ),
        (
            {"rule": "not_null", "column": "id", "zzz": 0},
            "unknown key `zzz`; known keys: action, column, columns,",
        ),
    ],
)
def test_of_rules(rule: dict[str, object], says: str) -> None:
    assert says in _refused(quality=[rule])
    assert says in _refused(quality=rule)


def test_of_steps() -> None:
    message = _refused(transform=[{"mask": {"columns": "a", "keep_lst": 3}}])
    assert "unknown key `keep_lst`; did you mean `keep_last`?" in message


def test_secrets_are_not_shown() -> None:
    assert "71" not in _refused(transform=[{"hash": {"columns": "a", "salt": 7171}}])
    rule = {"rule": "custom", "function": "${WORD}"}
    assert "word" not in _refused(quality=[rule])
    assert "word" not in _refused(quality=rule)
