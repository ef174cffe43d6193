import pytest

import scenes


@pytest.fixture(scope="session")
def drawn() -> list[scenes.Scene]:
    """Scenes of every split, then of the small world."""
    full = [scenes.generate(11, index, split=split) for split in scenes.SPLITS for index in range(200)]
    return full + [scenes.generate(11, index, world=scenes.SMALL_WORLD, size_px=64) for index in range(100)]
