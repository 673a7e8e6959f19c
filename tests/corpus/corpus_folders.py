"""Folders with links: walked once, cycles ended, what is left out is named."""

from __future__ import annotations

from pathlib import Path

from corpus_cases import Folder, case


def images(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / f"{name}.tif").write_bytes(b"II*\x00")
    return folder


@case
def folder_with_a_linked_folder(folder: Path) -> Folder:
    images(folder / "elsewhere", "b")
    root = images(folder / "images", "a")
    (root / "plate").symlink_to(folder / "elsewhere")
    return Folder(root, ["a", "b"])


@case
def folder_with_a_link_to_itself(folder: Path) -> Folder:
    root = images(folder / "images" / "plate", "a").parent
    (root / "plate" / "again").symlink_to(root)
    return Folder(root, ["a"], '"plate/again" leads to what is found in the folder itself')


@case
def folder_with_a_link_to_what_holds_it(folder: Path) -> Folder:
    root = images(folder / "images", "a")
    images(folder / "elsewhere", "b")
    (root / "up").symlink_to(folder)
    return Folder(root, ["a"], '"up" leads to what is found in it, such as the folder itself')


@case
def folder_with_links_to_each_other(folder: Path) -> Folder:
    root = folder / "images"
    images(root / "one", "a")
    images(root / "two", "b")
    (root / "one" / "other").symlink_to(root / "two")
    (root / "two" / "other").symlink_to(root / "one")
    return Folder(root, ["a", "b"], '"one/other" leads to what is found in the folder itself')


@case
def folder_linked_twice(folder: Path) -> Folder:
    images(folder / "elsewhere", "b")
    root = images(folder / "images", "a")
    (root / "p1").symlink_to(folder / "elsewhere")
    (root / "p2").symlink_to(folder / "elsewhere")
    return Folder(root, ["a", "b"], '"p2" leads to what is found in "p1"')


@case
def folder_that_is_a_link(folder: Path) -> Folder:
    images(folder / "images", "a")
    (folder / "link").symlink_to(folder / "images")
    return Folder(folder / "link", ["a"])


@case
def folder_with_a_broken_link(folder: Path) -> Folder:
    root = images(folder / "images", "a")
    (root / "gone").symlink_to(folder / "nowhere")
    (root / "loop").symlink_to(root / "loop")
    return Folder(root, ["a"])
