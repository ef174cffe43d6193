"""What goes into images may be shipped; what may not would be found."""

import pytest

from scripts.licences import ACCEPTED, SERVED, complaints, licence_of, may_be_shipped, packages


def test_what_is_served_may_be_shipped() -> None:
    assert complaints() == []


def test_every_package_is_looked_at() -> None:
    names = {name for lock in SERVED for name in packages(lock)}
    assert {"fastapi", "onnxruntime", "faiss-cpu", "pymilvus"} <= names
    assert licence_of("pydantic") == "MIT"
    assert set(ACCEPTED) <= names
    assert not any(may_be_shipped(licence_of(package)) for package in ACCEPTED)


@pytest.mark.parametrize(
    "licence",
    ["MIT", "BSD-3-Clause AND MIT", "Apache Software License", "GPL-2.0-only OR MIT", "MPL-2.0", "BSD License; BSD"],
)
def test_free(licence: str) -> None:
    assert may_be_shipped(licence)


@pytest.mark.parametrize(
    "licence",
    [
        "",
        "GPL-3.0-only",
        "AGPL-3.0",
        "MIT AND GPL-3.0",
        "LGPLv3+",
        "SSPL-1.0",
        "GNU General Public License v3; MIT",
        "Other",
    ],
)
def test_not_free_or_not_known(licence: str) -> None:
    assert not may_be_shipped(licence)
