"""``deletes:`` and ``ignore_columns:``: what goes together, and what is refused by name."""

from __future__ import annotations

import pytest

from conduit_core.errors import ConfigError
from conduit_core.spec import StreamSpec, spec_from_mapping
from conduit_core.spec.fingerprint import fingerprint

ENDS = {"name": "x", "source": "s.sqlite", "destination": "d.duckdb"}
KEYED = {"table": "a", "mode": "upsert", "unique_key": "id"}


def stream(**keys: object) -> StreamSpec:
    spec = spec_from_mapping(
        {**ENDS, "streams": [{**KEYED, **keys}]},
    ).spec
    return spec.streams[0]


def test_a_word_is_enough_and_soft_is_the_default() -> None:
    deletes = stream(deletes="snapshot").deletes
    assert deletes is not None
    assert (deletes.detect, deletes.apply, deletes.max_ratio) == ("snapshot", "soft", None)


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"deletes": {}}, "`detect` is missing"),
        ({"deletes": "log"}, "`detect` must be flag or snapshot or tracking_table"),
        ({"deletes": "flag"}, "`detect: flag` needs a `column`"),
        ({"deletes": "tracking_table"}, "`detect: tracking_table` needs a `table`"),
        ({"deletes": {"detect": "flag", "column": "d", "table": "t"}}, "`table` is for `detect: t"),
        ({"deletes": {"detect": "snapshot", "values": ["D"]}}, "`values` is for `detect: flag`"),
        ({"deletes": {"detect": "snapshot", "max_ratio": 2}}, "`max_ratio` must be"),
        (
            {"deletes": {"detect": "tracking_table", "table": "t", "unique_key": ["a", "b"]}},
            "`unique_key` of the tracking table has 2 columns, the stream's 1",
        ),
        (
            {"deletes": {"detect": "tracking_table", "table": "t"}, "cursor": "at"},
            "needs a `cursor` of its own",
        ),
        ({"mode": "replace", "deletes": "snapshot"}, "replace holds just what the source has"),
        ({"mode": "insert_only", "deletes": "snapshot"}, "insert_only never takes a row away"),
        (
            {"deletes": {"detect": "flag", "column": "gone"}, "columns": ["id"]},
            "leaves out gone, which `deletes` looks at",
        ),
        ({"ignore_columns": ["a"]}, "`ignore_columns` is for mode: scd2, not upsert"),
        ({"mode": "scd2", "cursor": "at", "null_cursor": "include"}, "begins at its cursor"),
    ],
)
def test_what_does_not_go_together_is_refused(keys: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigError) as refused:
        stream(**keys)
    assert told in refused.value.message


def test_defaults_hold_for_the_streams_that_can_have_them() -> None:
    spec = spec_from_mapping(
        {
            **ENDS,
            "defaults": {"deletes": "snapshot", "ignore_columns": ["seen"]},
            "streams": ["plain", KEYED, {**KEYED, "name": "v", "mode": "scd2"}],
        }
    ).spec
    assert [(s.deletes is not None, s.ignore_columns) for s in spec.streams] == [
        (False, ()),
        (True, ()),
        (True, ("seen",)),
    ]


def test_what_decides_rows_is_in_the_fingerprint_and_a_ceiling_is_not() -> None:
    prints = [
        fingerprint(stream(**({"deletes": d} if d else {})), "s")
        for d in (
            None,
            {"detect": "snapshot"},
            {"detect": "snapshot", "max_ratio": 0.5},
            {"detect": "snapshot", "apply": "hard"},
            {"detect": "flag", "column": "gone"},
        )
    ]
    assert prints[1] == prints[2]
    assert len(set(prints)) == 4
