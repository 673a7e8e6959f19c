from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transferscope.downloads.addresses import file_name, https_url, inside, is_remote, local_path
from transferscope.errors import UserError

FOLDER = Path("/data/raw")


@given(st.lists(st.sampled_from(["a", "..", ".", "", "/", "b c", "\\", "~", "C:", "\0"])))
def test_a_name_never_leaves_its_folder(parts):
    name = "/".join(parts)
    try:
        path = inside(FOLDER, name)
    except UserError:
        return
    assert path.resolve().is_relative_to(FOLDER)
    assert path != FOLDER


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../x", "a/../../x", "a\\..\\x", "", "a\nb", "C:x"]
)
def test_a_hostile_name_is_refused(name):
    with pytest.raises(UserError, match="not a file name below"):
        inside(FOLDER, name)


def test_plain_names_go_below():
    assert inside(FOLDER, "HLA-A_ENSG1/a..b.tif") == FOLDER / "HLA-A_ENSG1/a..b.tif"


@pytest.mark.parametrize(
    ("address", "endpoint", "expected"),
    [
        ("https://a.org/b", None, "https://a.org/b"),
        ("s3://bucket/a/b c.tif", None, "https://bucket.s3.amazonaws.com/a/b%20c.tif"),
        ("s3://bucket/a", "http://localhost:9000/", "http://localhost:9000/bucket/a"),
    ],
)
def test_buckets_are_reached_over_http(address, endpoint, expected):
    assert https_url(address, endpoint) == expected


def test_local_addresses():
    assert local_path("file:///data/a%20b.tif", FOLDER) == Path("/data/a b.tif")
    assert local_path("a/b.csv", FOLDER) == FOLDER / "a/b.csv"
    assert local_path("/other/b.csv", FOLDER) == Path("/other/b.csv")
    assert not is_remote("a/b.csv")
    for address in ("ftp://a.org/b", "file://elsewhere/b"):
        with pytest.raises(UserError):
            local_path(address, FOLDER)


def test_the_query_is_no_part_of_the_name():
    assert file_name("https://a.org/x/we%20ights.pth?download=1#top") == "we ights.pth"
