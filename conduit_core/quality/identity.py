"""What of a stream's rules and transform decides its rows: a part of the load's identity."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from conduit_core.quality.imports import code_digest, import_object
from conduit_core.spec.rules import Custom, Pandera, RuleSpec
from conduit_core.spec.transforms import HashStep, StepSpec

_SAID_ONLY = {"name", "description", "max_rejected"}
"""What a rule is called and where it stops a load doesn't change which rows are loaded."""


def decisive(
    rules: Sequence[RuleSpec], steps: Sequence[StepSpec], folder: Path | None = None
) -> dict[str, object]:
    """Return plain JSON that is equal as long as rules and transform do the same to a row.

    The source of functions and models that rules name is in it as a digest, and so is a salt.

    Raises:
        ConfigError: a function or model doesn't import.
    """
    return {
        "quality": [_rule(rule, folder) for rule in rules if rule.is_of_rows],
        "transform": [_step(step) for step in steps],
    }


def _rule(rule: RuleSpec, folder: Path | None) -> dict[str, object]:
    facts: dict[str, object] = rule.model_dump(mode="json", exclude=_SAID_ONLY)
    if isinstance(rule, Custom):
        import_object(rule.function, "function", folder)
        facts["code"] = code_digest(rule.function)
    elif isinstance(rule, Pandera):
        import_object(rule.model, "model", folder)
        facts["code"] = code_digest(rule.model)
    return facts


def _step(step: StepSpec) -> dict[str, object]:
    facts: dict[str, object] = step.model_dump(mode="json", by_alias=True)
    if isinstance(step, HashStep) and step.hash.salt is not None:
        salt = step.hash.salt.get_secret_value().encode()
        facts["salt"] = hashlib.sha256(b"conduit salt" + salt).hexdigest()[:16]
    return facts
