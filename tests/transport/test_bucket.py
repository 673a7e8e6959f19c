import pytest

from file_server import FileServer, Status, serving
from opencell_bucket import PREFIX, bucket_of_noise
from transferscope.transport.bucket import LISTING, list_bucket, saved_listing
from transferscope.transport.download import DownloadError
from transferscope.transport.patience import Patience

HASTY = Patience(attempts=3, backoff_s=0.01)


@pytest.fixture
def server():
    with serving(FileServer(bucket_of_noise(4, 3), page_size=7)) as running:
        yield running


def test_every_page_is_read_and_saved(server, tmp_path):
    url = f"{server.url}/{PREFIX}/"
    files = list_bucket(url, tmp_path)
    assert {f"/{PREFIX}/{file.name}": file.size for file in files} == {
        path: len(content) for path, content in server.files.items()
    }
    assert len(server.requests) == 4
    assert list_bucket(url, tmp_path) == files == saved_listing(url, tmp_path)
    assert len(server.requests) == 4
    assert [path.name for path in tmp_path.iterdir()] == [LISTING]


def test_the_listing_says_where_and_what_each_file_is(server, tmp_path):
    file = list_bucket(f"{server.url}/{PREFIX}/", tmp_path)[0]
    wanted = file.download_to(tmp_path / "a.tif")
    assert wanted.url.startswith(f"{server.url}/{PREFIX}/GENE1_")
    assert f'"{wanted.checksum.digest}"' == server.etag(f"/{PREFIX}/{file.name}")


def test_a_bucket_behind_another_server(tmp_path):
    with serving(FileServer(bucket_of_noise(2, 1, lead="/cells"))) as server:
        files = list_bucket(f"s3://cells/{PREFIX}/", tmp_path, server.url)
        assert len(files) == 5
        assert files[0].url.startswith(f"{server.url}/cells/{PREFIX}/GENE1_")


def test_another_address_is_listed_anew(server, tmp_path):
    list_bucket(f"{server.url}/{PREFIX}/", tmp_path)
    only = list_bucket(f"{server.url}/{PREFIX}/GENE2_", tmp_path)
    assert len(only) == 6


def test_faults_of_the_server_are_tried_again(server, tmp_path):
    server.faults["/"] = [Status(500), Status(503)]
    assert len(list_bucket(f"{server.url}/{PREFIX}/", tmp_path, patience=HASTY)) == 25


def test_what_is_no_bucket_is_refused(server, tmp_path):
    server.faults["/"] = [Status(404)]
    with pytest.raises(DownloadError, match="404"):
        list_bucket(f"{server.url}/{PREFIX}/", tmp_path, patience=HASTY)
    with pytest.raises(DownloadError, match="nothing there"):
        list_bucket(f"{server.url}/elsewhere/", tmp_path, patience=HASTY)
    assert not (tmp_path / LISTING).exists()


@pytest.mark.parametrize(
    "body",
    [
        b"<html><body>Welcome</body></html>",
        b"not XML",
        b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><ListBucketResult>&x;'
        b"</ListBucketResult>",
        b"<ListBucketResult><Contents><Key>a</Key></Contents></ListBucketResult>",
    ],
)
def test_an_answer_that_is_no_listing_is_refused(tmp_path, monkeypatch, body):
    from transferscope.transport import bucket

    monkeypatch.setattr(bucket, "_get", lambda *_: body)
    with pytest.raises(DownloadError, match="no listing of a bucket"):
        list_bucket("https://a.org/x/", tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"url": "u"}', '{"url": "u", "files": [{}]}'])
def test_a_damaged_copy_is_not_used(tmp_path, text):
    (tmp_path / LISTING).write_text(text)
    assert saved_listing("u", tmp_path) is None
