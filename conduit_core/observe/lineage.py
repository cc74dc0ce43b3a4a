"""What is said of a stream's load that its lineage tells, and that as OpenLineage has it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from conduit_core.errors import ConfigError
from conduit_core.events import Event, Retrying, RuleChecked, StreamFinished

if TYPE_CHECKING:
    from openlineage.client.event_v2 import InputDataset, OutputDataset

    from conduit_core.engine.pipeline import Pipeline


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


def lineage_datasets(
    pipeline: Pipeline,
    loads: Sequence[tuple[str, LoadHeard]],
    complain: Callable[[str], None],
) -> list[tuple[list[InputDataset], list[OutputDataset]]]:
    """Return what each load has read and written, as OpenLineage's own objects.

    Asks the destination for the columns of tables that were loaded; where it can't be asked they
    are left out. Needs the extra ``openlineage``.

    Args:
        pipeline: the loads'.
        loads: of each its stream, and what was heard of it.
        complain: told why columns are left out.

    Raises:
        ConfigError: a stream's or a connection's name isn't known, its options are wrong, or
            OpenLineage's client isn't installed.
    """
    try:
        from conduit_core.observe.openlineage_facets import inputs_and_outputs
    except ImportError as error:
        package = (error.name or "openlineage").partition(".")[0]
        raise ConfigError(
            f"lineage needs {package}, which isn't installed",
            command="pip install 'conduit-load[openlineage]'",
        ) from error
    return inputs_and_outputs(pipeline, loads, complain)
