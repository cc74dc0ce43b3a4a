"""Kills at random moments, where no fault point is: little proof, but cheap."""

from __future__ import annotations

import random
import time

import pytest

from tests.crash.conftest import Scene
from tests.crash.harness import KILLED
from tests.crash.source import ROWS_PER_FILE

pytestmark = [pytest.mark.crash, pytest.mark.slow]

KILLS = 5
SEED = 20240101


def test_p01_killed_at_random_moments_while_the_source_grows(scene: Scene) -> None:
    chance = random.Random(f"{SEED} {scene.system.name}")
    file = scene.pipeline()
    first = scene.worker.start(file)
    started = time.monotonic()
    first.end().fine()
    whole = time.monotonic() - started  # a kill can come anywhere between start and end
    parts = 4
    for _ in range(KILLS):
        scene.source.write(parts)
        parts += 1
        ended = scene.worker.start(file).kill_after(chance.uniform(0.2, 1) * whole)
        assert ended.code in {0, KILLED}
        ids = [row[1] for row in scene.loaded().rows]
        assert ids == list(range(len(ids)))
    scene.worker.fresh().run(file).fine()
    assert [row[1] for row in scene.loaded().rows] == list(range(parts * ROWS_PER_FILE))
