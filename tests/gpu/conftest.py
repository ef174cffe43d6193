"""Checks that need an NVIDIA GPU are skipped by name where there is none."""

import pytest

from benchmarks.gpu import find_card


@pytest.fixture(scope="session", autouse=True)
def card() -> str:
    """The GPU's name."""
    found = find_card()
    if found is None:
        pytest.skip("no NVIDIA GPU on this machine (nvidia-smi is missing or lists none)")
    return found
