"""Fixtures that several test modules share."""

from pathlib import Path

import pytest

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Those that take minutes come first: at the end, one would keep the other workers waiting.
    items.sort(key=lambda item: item.get_closest_marker("workflow") is None)
