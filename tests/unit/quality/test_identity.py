"""What makes a load another one: what decides rows, and nothing else."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter

from conduit_core.quality import decisive
from conduit_core.spec.rules import Rule, RuleSpec
from conduit_core.spec.transforms import Step, StepSpec

if TYPE_CHECKING:
    import pytest

RULE: TypeAdapter[RuleSpec] = TypeAdapter(Rule)
STEP: TypeAdapter[StepSpec] = TypeAdapter(Step)


def _facts(rule: dict[str, object], step: dict[str, object]) -> str:
    return json.dumps(decisive([RULE.validate_python(rule)], [STEP.validate_python(step)]))


def test_what_decides_rows_and_what_does_not() -> None:
    rule: dict[str, object] = {"rule": "range", "column": "n", "min": 0, "action": "dlq"}
    step: dict[str, object] = {"hash": {"columns": "n", "salt": "pepper"}}
    same = _facts(rule, step)
    assert _facts({**rule, "name": "mine", "description": "x", "max_rejected": 3}, step) == same
    assert "pepper" not in same
    for other in ({"min": 1}, {"action": "warn"}, {"where": "n > 0"}):
        assert _facts({**rule, **other}, step) != same
    assert _facts(rule, {"hash": {"columns": "n", "salt": "salt"}}) != same
    assert _facts(rule, {"hash": "n"}) != same


def test_another_body_of_a_function_is_another_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    rule = RULE.validate_python({"rule": "custom", "function": "users_changing:f"})
    found = []
    for body in ("return None", "return None", "return 1"):
        (tmp_path / "users_changing.py").write_text(f"def f(batch):\n    {body}\n")
        sys.modules.pop("users_changing", None)
        importlib.invalidate_caches()
        found.append(decisive([rule], []))
    assert found[0] == found[1] != found[2]
