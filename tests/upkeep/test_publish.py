"""A study is published whole, goes on after an interruption, and damage in it is found."""

import errno
import threading
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from factories import write_study
from object_store import BUCKET, ObjectStore
from target_stores import write_targets
from tile_stores import copy_tiles
from transferscope.cards.lookup import SHIPPED
from transferscope.commands.app import app
from transferscope.errors import UserError
from transferscope.stores.target_store import TargetStore
from transferscope.stores.tile_store import TileStore
from transferscope.study.defaults import merged_config
from transferscope.study.loading import load_study
from transferscope.study.study import Study
from transferscope.upkeep.contents import Item, results
from transferscope.upkeep.publish import _Destination, publish
from transferscope.upkeep.published import verify_published

N_TILES = 40
WORKING = (
    "backbones/trained.checkpoint.pt",
    "parts/cells/tiny/map/started.json",
    "scores/finetune/cells/tiny/map.parts/0.npz",
    "tiles/.cells.json.abc.new",
    "tiles/cells.blocks/0.json",
    "tiles/cells.fields/0.npz",
)


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """Return a study with one finished store, an unfinished one, and some other results."""
    folder = write_study(tmp_path / "study")
    monkeypatch.chdir(folder)
    root = folder / "results/tiny"
    copy_tiles(tiles(), root / "tiles")
    for name in ("summary.csv", "logs/a.log", "tiles/other.zarr/zarr.json", *WORKING):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return load_study(merged_config(folder / "study.yaml"), [folder, SHIPPED], "study.yaml")


def tiles() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 3000, (N_TILES, 3, 32, 32), dtype=np.uint16)


@pytest.fixture
def place(store: ObjectStore, tmp_path: Path) -> str:
    return f"s3://{BUCKET}/published-{tmp_path.name}"


def test_what_is_published(store: ObjectStore, study: Study, place: str) -> None:
    done = publish(study, place, 4)
    assert done.place == f"{place}/tiny"
    assert [path.name for path in done.unfinished] == ["other.zarr"]
    found = set(store.keys(done.place.removeprefix(f"s3://{BUCKET}/")))
    plain = {name for name in found if ".zarr/" not in name}
    assert plain == {
        "SHA256SUMS",
        "config.yaml",
        "cards/datasets/cells.yaml",
        "cards/backbones/tiny.yaml",
        "cards/backbones/handcrafted.yaml",
        "versions.json",
        "summary.csv",
        "tiles/cells.json",
    }
    assert {name.split("/")[1] for name in found - plain} == {"cells.zarr"}
    sound = verify_published(done.place)
    assert (sound.files, sound.stores, sound.blocks) == (7, 1, 3)
    published = TileStore(f"{done.place}/tiles/cells.json")
    assert published.tile_ids[3] == "tile3"
    np.testing.assert_array_equal(published.read(0, N_TILES), tiles())


def test_masks_are_published_with_their_tiles(study: Study, place: str) -> None:
    masks = tiles()[:, 0].astype(np.uint32)
    ids = [f"tile{i}" for i in range(N_TILES)]
    write_targets(study.paths.targets("cells"), masks, ids=ids)
    done = publish(study, place, 4)
    assert verify_published(done.place).stores == 2
    published = TargetStore(f"{done.place}/targets/cells.json")
    rows = np.array([30, 2, 3])
    np.testing.assert_array_equal(published.read(rows), masks[rows])


def test_again_nothing_is_sent_but_what_has_changed(study: Study, place: str) -> None:
    first = publish(study, place, 4)
    again = publish(study, place, 4)
    assert (again.sent, again.kept) == (0, first.sent)
    (study.paths.root / "summary.csv").write_text("other")
    assert publish(study, place, 4).sent == 2, "the table, and the list of checksums"
    verify_published(again.place)


def interrupted(monkeypatch: pytest.MonkeyPatch, after: int) -> list[str]:
    """Let sending fail after some files; return the list of those that are sent."""
    sent: list[str] = []
    send, lock = _Destination.send, threading.Lock()

    def fail(self: _Destination, item: object) -> None:
        with lock:
            if len(sent) == after:
                raise KeyboardInterrupt
            sent.append(item.name)  # type: ignore[attr-defined]
        send(self, item)  # type: ignore[arg-type]

    monkeypatch.setattr(_Destination, "send", fail)
    return sent


def test_an_interrupted_publication_is_none_and_goes_on(study: Study, place: str) -> None:
    with pytest.MonkeyPatch.context() as patched:
        sent = interrupted(patched, 10)
        with pytest.raises(KeyboardInterrupt):
            publish(study, place, 1)
    assert len(sent) == 10
    with pytest.raises(UserError, match="does not exist"):
        TileStore(f"{place}/tiny/tiles/cells.json")
    with pytest.raises(UserError, match="did not finish"):
        verify_published(f"{place}/tiny")
    done = publish(study, place, 4)
    assert done.kept == 10
    assert verify_published(done.place).stores == 1


def test_a_store_that_is_replaced_is_none_until_it_is_whole(study: Study, place: str) -> None:
    publish(study, place, 4)
    root = study.paths.root
    changed = tiles()
    changed[20] += 1
    copy_tiles(changed, root / "again")
    for suffix in (".zarr", ".json"):
        (root / f"tiles/cells{suffix}").rename(root.parent / f"old{suffix}")
        (root / f"again/cells{suffix}").rename(root / f"tiles/cells{suffix}")
    with pytest.MonkeyPatch.context() as patched:
        interrupted(patched, 1)
        with pytest.raises(KeyboardInterrupt):
            publish(study, place, 1)
    with pytest.raises(UserError, match="does not exist"):
        TileStore(f"{place}/tiny/tiles/cells.json")
    publish(study, place, 4)
    read = TileStore(f"{place}/tiny/tiles/cells.json").read(0, N_TILES)
    np.testing.assert_array_equal(read, changed)


def test_a_block_that_is_sent_again_makes_the_publication_half(
    store: ObjectStore, study: Study, place: str
) -> None:
    publish(study, place, 4)
    store.delete(f"{place.removeprefix(f's3://{BUCKET}/')}/tiny/tiles/cells.zarr/images/c/0/0/0/0")
    with pytest.MonkeyPatch.context() as patched:
        interrupted(patched, 0)
        with pytest.raises(KeyboardInterrupt):
            publish(study, place, 1)
    with pytest.raises(UserError, match="did not finish"):
        verify_published(f"{place}/tiny")


def test_a_study_is_not_published_into_or_around_itself(study: Study, tmp_path: Path) -> None:
    link = tmp_path / "link"
    root = study.paths.root.resolve()
    link.symlink_to(root.parent)
    before = sorted(root.rglob("*"))
    (tmp_path / "around").mkdir()
    (tmp_path / "around/tiny").symlink_to(root.parents[1])
    for to in (link, root / "tiles", tmp_path / "around"):
        with pytest.raises(UserError, match="the study's own folder"):
            publish(study, str(to), 2)
    assert sorted(root.rglob("*")) == before


def test_a_file_that_goes_meanwhile_is_named(
    study: Study, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = Item("gone.csv", study.paths.root / "gone.csv")

    def listed(study: Study, *, stores: bool) -> list[Item]:
        return [*results(study, stores=stores), gone]

    monkeypatch.setattr("transferscope.upkeep.publish.results", listed)
    with pytest.raises(UserError, match=r"gone\.csv: was removed .* the study is running"):
        publish(study, place, 2)


def test_a_full_disk_is_told_with_the_file(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("shutil.copyfile", full)
    with pytest.raises(UserError, match=r"shared/tiny/\S+: the disk is full"):
        publish(study, str(tmp_path / "shared"), 1)


def test_damage_is_found_and_repaired_by_publishing_again(
    store: ObjectStore, study: Study, place: str
) -> None:
    done = publish(study, place, 4)
    prefix = done.place.removeprefix(f"s3://{BUCKET}/")
    first, second = (f"{prefix}/tiles/cells.zarr/images/c/{block}/0/0/0" for block in (0, 1))
    content = bytearray(store.read(second))
    content[len(content) // 3] ^= 1
    store.write(second, bytes(content))
    store.delete(first)
    store.write(f"{prefix}/summary.csv", b"better")
    store.delete(f"{prefix}/versions.json")
    with pytest.raises(UserError) as raised:
        verify_published(done.place)
    for said in (
        "cells.zarr, block 0 (rows 0 to 15)",
        "cells.zarr, block 1 (rows 16 to 31)",
        "summary.csv: differs from its checksum",
        "versions.json: is missing",
    ):
        assert said in str(raised.value)
    assert len(raised.value.problems) == 4
    assert all("transferscope publish" in p.fix for p in raised.value.problems)
    assert publish(study, place, 4).sent == 5, "and the list of checksums, which went first"
    store.delete(f"{prefix}/tiles/cells.json")
    with pytest.raises(UserError, match=r"1 problem found\n.*cells\.json: is missing"):
        verify_published(done.place)


def test_a_folder_does_too(study: Study, tmp_path: Path) -> None:
    runner = CliRunner()
    for kept in (False, True):
        arguments = ["publish", "study.yaml", "--to", str(tmp_path / "shared")]
        done = runner.invoke(app, arguments, catch_exceptions=False)
        assert ("0 files sent" in done.output) == kept
        assert "other.zarr" in done.output
    done = runner.invoke(app, ["verify", str(tmp_path / "shared/tiny")], catch_exceptions=False)
    assert "is sound: 1 stores (3 blocks) and 7 files" in done.output


@pytest.mark.parametrize("what", ["s3://plates/x/tiny", ".", "study.tar"])
def test_only_what_is_here_can_be_repaired(study: Study, what: str) -> None:
    done = CliRunner().invoke(app, ["verify", what, "--repair"])
    assert isinstance(done.exception, UserError)
    assert "--repair works on a study on this machine" in str(done.exception)


@pytest.mark.parametrize(
    ("to", "said"),
    [
        ("s3://no-such-bucket/x", "bucket"),
        ("simplecache::s3://plates/x", "chains protocols"),
        ("file:///mnt/x", "has the protocol file"),
        ("sftp://user:secret@host/x", r"sftp://\*\*\*@host/x/tiny: may hold a password"),
    ],
)
def test_where_it_cannot_go(store: ObjectStore, study: Study, to: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        publish(study, to, 2)


def test_what_cannot_be_verified() -> None:
    with pytest.raises(UserError, match=r"s3://\*\*\*@bucket/x: may hold a password"):
        verify_published("s3://key:secret@bucket/x")
