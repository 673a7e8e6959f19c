"""Which addresses are downloaded, where files may go, and which URLs name an object store."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transferscope.errors import UserError
from transferscope.transport.urls import (
    checked_url,
    fault_of,
    file_name,
    https_url,
    inside,
    is_below,
    is_remote,
    is_url,
    local_path,
    without_password,
)

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


@pytest.mark.parametrize(
    "url",
    ["s3://bucket/a.tif", "s3://bucket", "gs://b/plate 1/a+b.tif", "az://c/x/", "s3://b/ü.png"],
)
def test_a_place_in_an_object_store(url: str) -> None:
    assert is_url(url)
    assert fault_of(url) is None
    assert checked_url(url) == url.rstrip("/")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("file:///etc/passwd", "protocol file"),
        ("local://x/a.tif", "protocol local"),
        ("memory://x/a.tif", "protocol memory"),
        ("http://host/a.tif", "protocol http"),
        ("reference://x/a.json", "protocol reference"),
        ("filecache::s3://bucket/a.tif", "chains"),
        ("simplecache::s3://bucket/a.tif", "chains"),
        ("s3://bucket/a.zip::file://x", "chains"),
        ("s3://bucket/../other/a.tif", '".."'),
        ("s3://bucket/plate/..", '".."'),
        ("s3://bucket//a.tif", "empty part"),
        ("s3://../a.tif", '".."'),
        ("s3:///a.tif", "no URL"),
        ("S3://bucket/a.tif", "protocol S3"),
        ("s3://bucket/\ta.tif", "no URL"),
        ("s3://key:secret@bucket/a.tif", "password"),
        ("s3://key:sec/ret@bucket/a.tif", "password"),
        ("sftp://user:secret@host/a.tif", "password"),
        ("s3://bucket/a.tif?versionId=1", "one of ?"),
        ("s3://bucket/*.tif", "one of ?"),
    ],
)
def test_what_is_refused(url: str, said: str) -> None:
    assert said in (fault_of(url) or "")
    with pytest.raises(ValueError, match="the URL"):
        checked_url(url)


@given(st.text(max_size=30), st.sampled_from(["s3", "sftp"]))
def test_a_password_is_refused_and_never_shown(secret: str, protocol: str) -> None:
    url = f"{protocol}://key:<{secret}>@bucket/a.tif"
    assert fault_of(url) is not None
    assert without_password(url).endswith("@bucket/a.tif")
    assert "<" not in without_password(url)


def test_urls_without_a_password_are_shown_as_they_are() -> None:
    for url in ("abfs://container@account/a:b.tif", "s3://bucket/a@2.tif", "hourly at 10:30"):
        assert without_password(url) == url


@given(st.text(max_size=30))
def test_nothing_allowed_leaves_its_bucket(path: str) -> None:
    url = f"s3://bucket/{path}"
    if fault_of(url) is None:
        assert is_below(f"{url.rstrip('/')}/x", "s3://bucket")
        assert not {"..", ".", ""} & set(url.removesuffix("/").split("/")[2:])


def test_a_name_that_only_begins_alike_is_not_below() -> None:
    assert is_below("s3://bucket/plate1/a.tif", "s3://bucket/plate1/")
    assert not is_below("s3://bucket/plate10/a.tif", "s3://bucket/plate1")
    assert not is_below("s3://bucket/plate1", "s3://bucket/plate1")
