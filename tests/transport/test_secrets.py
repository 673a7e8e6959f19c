"""Credentials in URLs are refused for every source, and masked in whatever is printed."""

import logging
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from command_tree import run
from factories import DATASET_CARD, STUDY, TINY_NETWORK, write_study, write_yaml
from transferscope.cards import BackboneCard, DatasetCard
from transferscope.config.model import read_model
from transferscope.errors import Problem, UserError, masked
from transferscope.transport.urls import fault_of, secret_in

SECRET = "q7-Zx9pL2"
NAMES = st.sampled_from(
    ["token", "access_token", "X-Amz-Signature", "X-Goog-Credential", "sig", "api_key", "key",
     "password", "AWSAccessKeyId", "auth", "Private-Token", "%74oken", "SECRET", "accessToken",
     "accesskey", "AccessKey", "secretKey", "clientsecret", "jwt", "pass", "passphrase", "bearer",
     "api.key", "token[]", "tokens", "sessionid", "webdavpassword", "authkey", "sas", "to%6Ben",
     "x%26token%3D1%26sig", "id_token", "subscription-key"]
)  # fmt: skip
HOSTS = st.sampled_from(["host", "host.org:8443", "127.0.0.1", "[::1]:80", "b.s3.amazonaws.com"])
SCHEMES = st.sampled_from(["http", "https", "s3", "gs", "HTTPS", "ftp", "file"])
USERS = st.sampled_from(
    [f"me:{SECRET}@", f"{SECRET}@", f":{SECRET}@", f"a:b/{SECRET}@", f"{SECRET}:@"]
)


@st.composite
def secret_urls(draw: st.DrawFn) -> str:
    path = draw(st.sampled_from(["/a.pth", "/x/y@2x/a.tif", "", "/a%20b/"]))
    if draw(st.booleans()):
        return f"{draw(SCHEMES)}://{draw(USERS)}{draw(HOSTS)}{path}"
    before = draw(st.sampled_from(["?", "?download=1&", "?a=b;", "#"]))
    after = draw(st.sampled_from(["", "&x=1", "#top"]))
    return f"{draw(SCHEMES)}://{draw(HOSTS)}{path}{before}{draw(NAMES)}={SECRET}{after}"


@settings(max_examples=100)
@given(url=secret_urls())
def test_any_secret_is_found_and_masked(url: str) -> None:
    assert secret_in(url)
    assert fault_of(url)
    for text in (url, f'"{url}" could not be fetched: 403 for {url}'):
        assert SECRET not in masked(text)
        assert SECRET not in str(Problem(text, text, text))


@pytest.mark.parametrize(
    "url",
    [
        "https://zenodo.org/records/1/files/w.pth?download=1",
        "https://host:8080/a@2x.tif",
        "https://host/a/@scope/w.pth?monkey=1&keyboard=2",
        "https://host/w.pth?author=me&passage=3&design=a&keyword=x&code=7&compass=n&signal=2",
        "s3://bucket/plate=1/key=3/a.tif",
        "https://huggingface.co/a/b/resolve/main/w.pth",
        "abfs://container@account.dfs.core.windows.net/plate",
        "s3://bucket/plate@2/a.tif",
        "https://images.proteinatlas.org/{id}_{colour}.tif.gz",
    ],
)
def test_usual_urls_hold_none(url: str) -> None:
    assert secret_in(url) is None
    assert masked(url) == url


URL = f"https://host/x.pth?token={SECRET}"
BACKBONE = {"name": "tiny", **TINY_NETWORK}
CARDS: list[tuple[Any, dict[str, Any]]] = [
    (BackboneCard, {**BACKBONE, "source": "url", "url": URL}),
    (BackboneCard, {**BACKBONE, "source": "url", "url": f"https://{SECRET}@host/x.pth"}),
    (BackboneCard, {**BACKBONE, "source": "hub", "repo": URL, "filename": "x"}),
    (BackboneCard, {**BACKBONE, "source": "file", "weights": URL}),
    (BackboneCard, {**BACKBONE, "source": "transformers", "model": URL}),
    (BackboneCard, {**BACKBONE, "citation": f"See {URL} for more."}),
    (DatasetCard, {**DATASET_CARD, "sheet": URL}),
    (DatasetCard, {**DATASET_CARD, "roots": ["a", f"s3://a:{SECRET}@bucket/x"]}),
    (DatasetCard, {**DATASET_CARD, "roots": [f"s3://bucket/x?sig={SECRET}"]}),
    (DatasetCard, {**DATASET_CARD, "label_table": URL}),
    (DatasetCard, {**DATASET_CARD, "published": f"s3://{SECRET}@bucket/study"}),
    (DatasetCard, {**DATASET_CARD, "description": URL}),
    (DatasetCard, {"fetch": {"source": "opencell", "annotations": URL}}),
    (DatasetCard, {"fetch": {"source": "opencell", "s3_endpoint": f"http://a:{SECRET}@host"}}),
    (DatasetCard, {"fetch": {"source": "opencell", "url": f"s3://a:{SECRET}@bucket/x/"}}),
    (DatasetCard, {"fetch": {"source": "hpa", "list": URL}}),
    (DatasetCard, {"fetch": {"source": "hpa", "url": URL + "{id}{colour}"}}),
]


@pytest.mark.parametrize(("kind", "content"), CARDS)
def test_every_key_of_a_card_refuses_them(tmp_path: Path, kind: Any, content: Any) -> None:
    if "fetch" in content:
        content = {**{k: v for k, v in DATASET_CARD.items() if k != "sheet"}, **content}
    path = write_yaml(tmp_path / "card.yaml", content)
    with pytest.raises(UserError) as caught:
        read_model(path, kind)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("key", ["results", "datasets", "backbones", "card_folders", "study"])
def test_every_key_of_a_study_refuses_them(
    tmp_path: Path, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    values: dict[str, Any] = {
        "datasets": [URL],
        "backbones": [URL],
        "card_folders": {"datasets": URL},
    }
    write_study(tmp_path)
    config = write_yaml(tmp_path / "study.yaml", {**STUDY, key: values.get(key, URL)})
    for words in (["study", "check"], ["verify"], ["export"], ["status"]):
        ended = run([*words, str(config)])
        assert ended.code == 1
        assert SECRET not in ended.out + ended.err


@pytest.mark.parametrize("url", [URL, f"s3://me:{SECRET}@bucket/x", f"s3://{SECRET}@bucket/x"])
@pytest.mark.parametrize(
    "words",
    [
        ["verify", "URL"],
        ["publish", "study.yaml", "--to", "URL"],
        ["verify", "URL", "--repair"],
        ["strategies", "--dataset", "URL", "--backbone", "URL", "--output", "a.png"],
        ["backbone", "fetch", "URL"],
        ["backbone", "inspect", "URL"],
        ["simulate", "--sheet", "s.tsv", "--settings", '{"domain": "URL"}'],
    ],
)
def test_commands_never_print_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], url: str
) -> None:
    monkeypatch.chdir(write_study(tmp_path))
    ended = run([word.replace("URL", url) for word in words])
    assert ended.code in (1, 2)
    assert "Traceback" not in ended.err
    assert SECRET not in ended.out + ended.err


def test_logs_mask_what_libraries_say(capsys: pytest.CaptureFixture[str]) -> None:
    from transferscope.commands.app import _log_to_stderr

    before = logging.root.handlers[:]
    _log_to_stderr()
    logging.getLogger("urllib3").warning("Retry: %s", f"/x?X-Amz-Signature={SECRET}&a=\x1b[2J")
    logging.root.handlers[:] = before
    said = capsys.readouterr().err
    assert SECRET not in said
    assert "\x1b" not in said
    assert re.search(r"X-Amz-Signature=\*\*\*", said)


def test_cards_of_the_workflow_hold_none(repository: Path) -> None:
    for path in (repository / "resources").rglob("*.yaml"):
        for word in yaml.safe_dump(yaml.safe_load(path.read_text()), width=10**6).split():
            assert "://" not in word or secret_in(word.strip("'\"")) is None
