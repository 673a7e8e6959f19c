"""Which URLs are taken for files of an object store."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transferscope.remote.urls import checked_url, fault_of, is_below, is_url, without_password


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
