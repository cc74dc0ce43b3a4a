"""What a load does about dead letters: those it makes, and the open ones that it covers. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from conduit_core.connectors.publish import AppendDeadLetters, ResolveDeadLetters
from conduit_core.state.window import Window
from conduit_core.sync.strategies import Effective


@dataclass(frozen=True, slots=True)
class LetterFacts:
    """What must be known of a load.

    Args:
        makes: whether its rules may take rows out.
        has_open: whether the target has open letters.
        effective: how its rows are published.
        key: the unique key among the staged columns, whether the mode goes by it or not.
        order: the cursor's columns among the staged ones.
        window: the load's window.
        replaces_files: whether rows of files that come again are deleted first.
        fingerprint: of the payloads' schema.
        payload_text: that schema as JSON.
        staged_text: schema of the rows as staged, as JSON.
    """

    makes: bool
    has_open: bool
    effective: Effective
    key: tuple[str, ...]
    order: tuple[str, ...]
    window: Window
    replaces_files: bool
    fingerprint: str
    payload_text: str
    staged_text: str


def letter_actions(facts: LetterFacts) -> tuple[ResolveDeadLetters | AppendDeadLetters, ...]:
    """Return what publish does about dead letters, after the rows are in."""
    out: list[ResolveDeadLetters | AppendDeadLetters] = []
    if facts.makes or facts.has_open:
        out.append(_resolve(facts))
    if facts.makes:
        out.append(
            AppendDeadLetters(
                schema_fingerprint=facts.fingerprint,
                schema_text=facts.payload_text,
                adds_copies=facts.effective == "append" and not facts.replaces_files,
            )
        )
    return tuple(out)


def _resolve(facts: LetterFacts) -> ResolveDeadLetters:
    whole = ResolveDeadLetters(key=facts.key, order=facts.order, schema_text=facts.staged_text)
    if facts.effective == "replace":
        return whole.model_copy(update={"covers": "target"})
    if facts.replaces_files:
        return whole.model_copy(update={"covers": "files"})
    if facts.effective == "replace_window" and facts.window.kind != "full":
        return whole.model_copy(update={"covers": "window", "window": facts.window.to_json()})
    return whole
