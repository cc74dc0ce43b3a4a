"""What the page says differs between runners, held to what they do."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conformance.cases import STOPPED, Case
from tests.conformance.page import RUNNERS
from tests.conformance.place import Place
from tests.conformance.play import Runner


@pytest.mark.deep
@pytest.mark.parametrize("who", RUNNERS)
def test_on_error_stop_is_for_streams_of_one_run(
    who: str,
    place: Callable[[Case], Place],
    company: Callable[[Place], dict[str, Runner]],
) -> None:
    """In an orchestrator each stream is a task of its own, and the others go on."""
    here = place(STOPPED)
    (scene,) = STOPPED.scenes
    here.change(scene)
    assert not company(here)[who].load(scene)
    loaded = here.look().get("ledger", {})
    assert list(loaded) == ([] if who == "command line" else ["stopped_follows"])
