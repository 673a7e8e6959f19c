"""Every command, given a sibling of one of its files: another dataset, backbone or strategy."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import command_tree
from command_tree import run, words_of
from factories import DATASET_CARD, STUDY, TINY_NETWORK, write_study, write_yaml

SHORT = {
    "splits": {
        "schemes": ["group"],
        "folds": {"group": 2},
        "halves": 1,
        "seeds": [0],
        "fractions": [1.0],
    },
    "heads": {"kinds": ["logreg"]},
    "knn": {"k": [1]},
    "figures": {"dpi": 60, "map_points": 100, "gallery": 1},
    "aggregate": {"levels": ["fov"]},
    "channel_strategies": ["map", "replicate"],
    "finetune": {"modes": ["head"]},
}
# What makes tiles from any sheet by any card, and embeddings from any tiles by any backbone.
FREE = {"tiles", "embed"}
DATASETS, BACKBONES = ["cells", "others"], ["tiny", "second"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folder with a study of two datasets, whose tiles have the same ids, and two backbones."""
    folder = tmp_path_factory.mktemp("siblings")
    write_study(folder)
    shutil.copytree(folder / "raw", folder / "more")
    sheet = folder / "more/samples.tsv"
    first, *rows = sheet.read_text().splitlines()
    cells = [row.split("\t") for row in rows]
    # The same names, groups and labels; other images.
    paths = [cell[1] for cell in cells]
    pairs = zip(cells, paths[9:] + paths[:9], strict=True)
    moved = ["\t".join([own[0], path, *own[2:]]) for own, path in pairs]
    sheet.write_text("\n".join([first, *moved]) + "\n")
    card = {**DATASET_CARD, "name": "others", "sheet": "../../more/samples.tsv"}
    write_yaml(folder / "cards/datasets/others.yaml", card)
    write_yaml(folder / "cards/backbones/second.yaml", {"name": "second", **TINY_NETWORK})
    study = {
        **STUDY,
        **SHORT,
        "datasets": [f"cards/datasets/{name}.yaml" for name in DATASETS],
        "backbones": [f"cards/backbones/{name}.yaml" for name in BACKBONES],
    }
    study["finetune"] = {"backbones": ["cards/backbones/tiny.yaml"], "modes": ["head"]}
    for name in ("study", "parts", "all", "given"):
        write_yaml(folder / f"{name}.yaml", study)
    before = Path.cwd()
    os.chdir(folder)
    for step in command_tree.plan(folder).steps.values():
        for job in step.planned:
            ended = run(words_of(step, job))
            assert ended.code == 0, ended.err
    yield folder
    os.chdir(before)


def siblings(word: str) -> Iterator[str]:
    """Yield the paths of the same kind of file of another dataset, backbone or strategy."""
    for names in (DATASETS, BACKBONES, ["map", "replicate"]):
        parts = Path(word).parts
        for own, other in (names, names[::-1]):
            changed = [
                other + part.removeprefix(own) if part.partition(".")[0] == own else part
                for part in parts
            ]
            path = Path(*changed)
            if tuple(changed) != parts and path.is_file():
                yield str(path)


def cases(place: Path) -> Iterator[tuple[str, str, list[str]]]:
    """Yield step, option and words of each command that reads a sibling's file."""
    written = {
        (command.name, parameter.flag)
        for command in command_tree.commands(place)
        for parameter in command.paths
        if parameter.written
    }
    for step in command_tree.plan(place).steps.values():
        words = words_of(step, step.planned[0])
        for at, word in enumerate(words):
            is_option = words[at - 1].startswith("--") and not word.startswith("{")
            if (words[0], words[at - 1]) in written or not is_option or not Path(word).is_file():
                continue
            for other in siblings(word):
                yield step.name, words[at - 1], [*words[:at], other, *words[at + 1 :]]


def test_a_sibling_is_named(place: Path) -> None:
    found = [case for case in cases(place) if case[0] not in FREE]
    assert len(found) > 30
    assert {"heads", "knn", "finetune", "aggregate", "gallery"} <= {step for step, _, _ in found}
    for step, option, words in found:
        ended = run(words)
        assert ended.code == 1, f"{step} {option}: {words}"
        assert "Traceback" not in ended.err
        assert "belong" in ended.err, ended.err


def test_tiles_with_the_same_ids_and_name_are_told_apart_by_their_content(place: Path) -> None:
    """Only what was made from them says so: as after a copy over the store of a dataset."""
    step = command_tree.plan(place).steps["finetune"]
    words = words_of(step, step.planned[0])
    tiles = place / "results/tiny/tiles"
    copy = place / "copy/tiles"
    shutil.copytree(tiles, copy)
    for suffix in (".json", ".zarr"):
        (copy / f"cells{suffix}").rename(copy / f"kept{suffix}")
        (copy / f"others{suffix}").rename(copy / f"cells{suffix}")
    words[words.index("--tiles") + 1] = str(copy / "cells.json")
    ended = run(words)
    assert ended.code == 1
    assert "belongs to other tiles" in ended.err
