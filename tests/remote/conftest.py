"""A server that speaks S3, one for all tests of a module."""

from collections.abc import Iterator

import pytest

from object_store import ObjectStore, serving_objects


@pytest.fixture(scope="module")
def store() -> Iterator[ObjectStore]:
    with pytest.MonkeyPatch.context() as patched, serving_objects(patched) as running:
        yield running
