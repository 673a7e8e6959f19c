"""Fetch a dataset: raw files first, then the sample sheet, and last a manifest of both.

The raw files stay where they are whatever happens; sheet and manifest are written once every file
is there. Both are the same however often they are written, so that nothing is made again of them.
"""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path

from transferscope.cards import DatasetCard, OpenCellFetch
from transferscope.cards.fetch import DownloadSettings
from transferscope.datasets.annotations import read_annotations
from transferscope.datasets.hpa import plan_hpa
from transferscope.datasets.inputs import fetch_fingerprint
from transferscope.datasets.opencell import plan_opencell
from transferscope.datasets.planned import FILES, Planned
from transferscope.errors import Problem, UserError
from transferscope.raw.sheets import read_sheet
from transferscope.runtime.atomic_files import write_atomically
from transferscope.runtime.fingerprint import fingerprint
from transferscope.runtime.locks import exclusive
from transferscope.transport.batch import Record, as_problems, download_all
from transferscope.transport.bucket import BucketFile, list_bucket, saved_listing
from transferscope.transport.cache import OFFLINE_VARIABLES, cached_file, is_offline
from transferscope.transport.download import DownloadError
from transferscope.transport.patience import Patience
from transferscope.transport.urls import is_remote, local_path

FORMAT = "transferscope.fetched"
FORMAT_VERSION = 1
LOCK = ".fetch.lock"
NO_FIELD = (
    "the card asks for no field at all",
    "Check `labels`, `fetch.grades` and `fetch.limit`.",
)

logger = logging.getLogger(__name__)


def fetch(card: DatasetCard, card_path: Path, sheet: Path, manifest: Path) -> None:
    """Fetch the raw files of a dataset and write its sample sheet.

    Parameters
    ----------
    card
        A card with `fetch`.
    card_path
        Its file, to which its paths are relative.
    sheet
        Sample sheet to write; the raw files lie in `files` next to it, or in the folder that the
        card names, to which `files` is then a link.
    manifest
        Manifest to write, last of all.

    Raises
    ------
    UserError
        With every file that could not be fetched, or what is wrong with card, table or list.
    """
    try:
        _fetch(card, card_path, sheet, manifest)
    except OSError as error:
        where, what = str(error.filename or sheet.parent), error.strerror or str(error)
        fix = "Check permissions and free space."
        raise UserError(Problem(where, f"cannot be read or written: {what}", fix)) from None


def _fetch(card: DatasetCard, card_path: Path, sheet: Path, manifest: Path) -> None:
    link = sheet.parent / FILES
    if link.is_symlink():
        link.unlink()
    planned = plan(card, card_path, sheet, ask=True)
    _link(link, planned.root)
    if planned.table.empty:
        raise UserError(Problem(str(card_path), *NO_FIELD))
    if planned.downloads:
        _download(planned, card)
    text = planned.table.to_csv(sep="\t", index=False, lineterminator="\n")
    if not sheet.is_file() or sheet.read_text(encoding="utf-8") != text:
        write_atomically(sheet, text)
    read_sheet(sheet, card, card_path)
    write_atomically(manifest, _manifest(planned, text, fetch_fingerprint(card, card_path)))
    logger.info("%s: %d fields", sheet, len(planned.table))


def plan(
    card: DatasetCard,
    card_path: Path,
    sheet: Path,
    *,
    ask: bool = False,
    patience: Patience | None = None,
) -> Planned:
    """Return what a fetch will make.

    Parameters
    ----------
    card, card_path, sheet
        As for `fetch`.
    ask
        Whether to list the source where no earlier run has. Without it the plan may be one of
        groups only.
    patience
        How often and how long to try to get the annotation table.

    Raises
    ------
    UserError
        Where card, table or list are wrong, or what is needed cannot be had.
    """
    folder = sheet.parent / FILES
    settings = card.fetch
    if settings is None:
        raise UserError(Problem(str(card_path), "has no `fetch`", "Name a source there."))
    if settings.kind == "hpa":
        return plan_hpa(card, settings, card_path, folder)
    annotations = read_annotations(annotation_file(settings, card_path, patience))
    root = settings.root(card_path, folder)
    listing = _listing(settings, root, ask) if is_remote(settings.url) else None
    return plan_opencell(card, settings, card_path, folder, annotations, listing)


def annotation_file(
    settings: OpenCellFetch, card_path: Path, patience: Patience | None = None
) -> Path:
    """Return the annotation table, fetched into the shared cache where it is a URL."""
    if is_remote(settings.annotations):
        return cached_file(settings.annotations, settings.known_sha256, patience)
    return local_path(settings.annotations, card_path.parent)


def _listing(settings: OpenCellFetch, root: Path, ask: bool) -> list[BucketFile] | None:
    if not ask:
        return saved_listing(settings.url, root)
    if saved_listing(settings.url, root) is None and is_offline():
        raise UserError(_offline(settings.url, "the list of files is not here"))
    root.mkdir(parents=True, exist_ok=True)
    try:
        with exclusive(root / LOCK, f"fetching into {root}"):
            return list_bucket(
                settings.url, root, settings.s3_endpoint, _patience(settings.downloads)
            )
    except DownloadError as error:
        fix = "Check the network and `fetch.url:` in the dataset card, and run it again."
        raise UserError(Problem(error.url, error.reason, fix)) from None


def _offline(where: str, what: str) -> Problem:
    what = f"{what}, and the network is switched off ({' or '.join(OFFLINE_VARIABLES)})"
    fix = "Run `transferscope fetch` on a machine with a network, into a folder that both see."
    return Problem(where, what, fix)


def _patience(settings: DownloadSettings) -> Patience:
    return Patience(attempts=settings.attempts, read_timeout_s=settings.timeout_s)


def _download(planned: Planned, card: DatasetCard) -> None:
    settings = card.fetch.downloads if card.fetch else DownloadSettings()
    if is_offline():
        record = Record(planned.root)
        missing = [one.path for one in planned.downloads if not record.has(one)]
        if missing:
            what = f"{len(missing)} of {len(planned.downloads)} files are not here"
            raise UserError(_offline(str(planned.root), f"{what} (first: {missing[0].name})"))
    with exclusive(planned.root / LOCK, f"fetching into {planned.root}"):
        failures = download_all(
            planned.downloads,
            planned.root,
            f"fetch {card.name}",
            settings.connections,
            _patience(settings),
        )
    if failures:
        raise UserError(as_problems(failures, planned.root))


def _link(link: Path, root: Path) -> None:
    """Make `files` next to the sheet lead to the raw files, wherever those are.

    The paths in the sheet are then the same, and lie below the sheet.
    """
    if link == root:
        return
    if link.exists():
        what = "holds files of an earlier fetch, but the card names another folder"
        raise UserError(Problem(str(link), what, f"Move its content to {root} and delete it."))
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(root.resolve(), target_is_directory=True)


def _manifest(planned: Planned, sheet: str, made_for: str) -> str:
    """Describe what was fetched; no times and no places, so that equal data have equal text."""
    checksums = {download.path: str(download.checksum or "") for download in planned.downloads}
    paths = planned.files()
    sizes = [path.stat().st_size for path in paths]
    files = [
        (path.relative_to(planned.root).as_posix(), size, checksums.get(path, ""))
        for path, size in zip(paths, sizes, strict=True)
    ]
    described = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "made_for": made_for,
        "fields": len(planned.table),
        "groups": int(planned.table["group"].nunique()),
        "bytes": sum(sizes),
        "files_fingerprint": fingerprint(files),
        "sheet_sha256": hashlib.sha256(sheet.encode()).hexdigest(),
    }
    return json.dumps(described, indent=2) + "\n"
