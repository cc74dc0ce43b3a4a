"""dbt's generic tests in YAML: what a person wrote, in any form, and what we write. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from conduit_dbt.sqltext import plain_name
from conduit_dbt.tables import GenericTest
from conduit_dbt.yamltext import Flow

KEYS = ("data_tests", "tests")
_CONFIG = frozenset({
    "alias", "database", "enabled", "error_if", "fail_calc", "limit", "meta", "schema", "severity",
    "store_failures", "store_failures_as", "tags", "warn_if", "where",
})  # fmt: skip
_NAMING = frozenset({"description", "name", "column_name", "model"})


def read_test(entry: object, column: str | None) -> GenericTest | None:
    """Return the test that an entry of ``data_tests:`` or ``tests:`` stands for; None if none.

    Args:
        entry: a name, ``{name: {...}}`` or ``{test_name: name, ...}``, with arguments and config
            beside it, under ``arguments:`` and under ``config:``.
        column: the column that it stands under.
    """
    if isinstance(entry, str):
        return GenericTest(name=entry, column=column)
    if not isinstance(entry, Mapping) or not entry:
        return None
    name, value = next(iter(entry.items()))
    if "test_name" in entry:
        name, value = entry["test_name"], {k: v for k, v in entry.items() if k != "test_name"}
    told: dict[str, object] = dict(value) if isinstance(value, Mapping) else {}
    arguments, config = told.pop("arguments", None), told.pop("config", None)
    config = {**told, **(config if isinstance(config, Mapping) else {})}
    told.update(arguments if isinstance(arguments, Mapping) else {})
    return make_test(str(name), column, told, config)


def make_test(
    name: str, column: str | None, arguments: Mapping[str, object], config: Mapping[str, object]
) -> GenericTest:
    """Return a test from its arguments and config, as dbt's manifest has them."""
    of = arguments.get("column_name")
    return GenericTest(
        name=name.removeprefix("dbt."),
        column=plain_name(of) if isinstance(of, str) else column,
        arguments={k: v for k, v in arguments.items() if k not in _NAMING | _CONFIG},
        where=str(config.get("where") or ""),
        severity=str(config.get("severity") or "error").lower(),
    )


def write_test(test: GenericTest, *, nests_arguments: bool) -> object:
    """Return the entry of ``data_tests:`` for a test.

    Args:
        test: the test.
        nests_arguments: whether arguments go under ``arguments:`` (dbt 1.10.8 and later).
    """
    arguments = _short(test.arguments)
    told: dict[str, object] = (
        {"arguments": arguments} if arguments and nests_arguments else arguments
    )
    config: dict[str, object] = {}
    if test.where:
        config["where"] = test.where
    if test.severity != "error":
        config["severity"] = test.severity
    if config:
        told = {**told, "config": config}
    return {test.name: told} if told else test.name


def _short(arguments: Mapping[str, object]) -> dict[str, object]:
    """Write lists of values on one line, as people do."""
    return {k: Flow(v) if isinstance(v, list) else v for k, v in arguments.items()}


def told_test(test: GenericTest) -> str:
    """Return a test in a few words: ``unique(id)``."""
    names = test.arguments.get("combination_of_columns")
    shown = ", ".join(map(str, names)) if isinstance(names, list) else test.column or ""
    return f"{test.name}({shown})"
