"""What is said of a stream's load that its lineage tells."""

from __future__ import annotations

from dataclasses import dataclass, field

from conduit_core.events import Event, Retrying, RuleChecked, StreamFinished


@dataclass(slots=True)
class LoadHeard:
    """A listener that keeps what is said of one stream's load; of its last attempt alone.

    Args:
        rules: what each rule found, by its name; of a load that rules stop, too.
        finished: how it ended well; None where it hasn't.
    """

    rules: dict[str, RuleChecked] = field(default_factory=dict)
    finished: StreamFinished | None = None

    def __call__(self, event: Event) -> None:
        """Take an event in."""
        match event:
            case RuleChecked():
                self.rules[event.rule] = event
            case StreamFinished():
                self.finished = event
            case Retrying():
                self.rules.clear()
            case _:
                pass
