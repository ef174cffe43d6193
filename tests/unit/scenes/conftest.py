import pytest

import scenes


@pytest.fixture(scope="session")
def drawn() -> list[scenes.Scene]:
    """Scenes of every split."""
    return [scenes.generate(11, index, split=split) for split in scenes.SPLITS for index in range(400)]
