"""The contract of a destination."""

from __future__ import annotations

from conduit_core.testing.columns import ColumnContract
from conduit_core.testing.deleting import DeleteContract
from conduit_core.testing.hooking import HookContract
from conduit_core.testing.incidents import IncidentContract
from conduit_core.testing.letters import LetterContract
from conduit_core.testing.merging import MergeContract
from conduit_core.testing.publishing import PublishContract
from conduit_core.testing.slicing import SliceContract
from conduit_core.testing.values import ValueContract
from conduit_core.testing.versions import VersionsContract


class DestinationSuite(
    ValueContract,
    PublishContract,
    ColumnContract,
    MergeContract,
    DeleteContract,
    VersionsContract,
    LetterContract,
    HookContract,
    IncidentContract,
    SliceContract,
):
    """What every destination must do. Subclass it and supply fixtures.

    Fixtures:
        connect: ``Callable[[], Destination]``: each call makes a new object on one and the same
            place, which is empty when the test begins. The suite closes what it makes. Limit the
            place's ``lock_wait`` to some seconds, so that a broken lock fails instead of hanging.
        schema: the schema to load into; the default is the destination's own.

    Class attributes:
        refused: names of ``conduit_core.testing.torture.CASES`` that the system can't take.
            They must give a ``ConduitError`` and leave nothing behind; all others must load.

    The fixtures ``destination`` and ``other`` (two objects on the same place) are there for a
    subclass's own tests; ``conduit_core.testing.fixtures`` has ``load``, ``scan`` and ``ids``.
    """
