"""Fixtures that several test modules share."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from object_store import ObjectStore

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED_DATA = REPOSITORY.parent / "shared" / "data"


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real microscopy images, which not every machine has."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real images are not on this machine (no ../shared/data)")
    return SHARED_DATA


@pytest.fixture(scope="session")
def object_server() -> "Iterator[ObjectStore]":
    """One server for all tests: connections to it are kept for as long as the program runs."""
    # Imported here: few tests need it, and it takes a while.
    from object_store import serving_objects

    with serving_objects() as running:
        yield running


@pytest.fixture
def store(object_server: "ObjectStore", monkeypatch: pytest.MonkeyPatch) -> "ObjectStore":
    """Server that speaks S3, and that this environment means."""
    for name, value in object_server.environment().items():
        monkeypatch.setenv(name, value)
    return object_server


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Those that take minutes come first: at the end, one would keep the other workers waiting.
    items.sort(key=lambda item: item.get_closest_marker("workflow") is None)
