"""The manifest of a store: a small JSON file that is written last."""

from __future__ import annotations

import hashlib
import json
import operator
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from transferscope.errors import UserError, user_error
from transferscope.runtime.atomic_files import write_atomically
from transferscope.runtime.json_text import parse_json
from transferscope.transport.access import PUBLISH_AGAIN
from transferscope.transport.files import RemoteFile
from transferscope.transport.urls import checked_url


def store_of(manifest: Path) -> Path:
    """Return the Zarr store that a manifest describes.

    Examples
    --------
    >>> store_of(Path("tiles/demo.json")).name
    'demo.zarr'
    """
    return manifest.with_suffix(".zarr")


def manifest_of(store: Path) -> Path:
    """Return the manifest that describes a Zarr store; see `store_of`."""
    return store.with_suffix(".json")


def folder_during_conversion(store: Path, kind: str) -> Path:
    """Return where the "old" or the "new" store is while one takes the place of the other."""
    return store.with_name(f".{store.name}.{kind}")


FORMAT_VERSION = 2
UPDATE = "Update transferscope."
TILES_FORMAT = "transferscope.tiles"
TARGETS_FORMAT = "transferscope.targets"
EMBEDDINGS_FORMAT = "transferscope.embeddings"
# One row is one chunk; the chunks of a block are in one file.
TILED_FORMATS = (TILES_FORMAT, TARGETS_FORMAT)


def digest_of_ids(ids: Sequence[str]) -> str:
    """Return the sha256 of tile ids in their order."""
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()


@dataclass(frozen=True)
class Manifest:
    """Description of a finished store.

    Parameters
    ----------
    format
        `TILES_FORMAT`, `TARGETS_FORMAT` or `EMBEDDINGS_FORMAT`.
    fingerprint
        sha256 of everything that the content depends on.
    shape
        Shape of the main array; rows first.
    ids_sha256
        `digest_of_ids` of the tile ids.
    content_sha256
        Identity of the values, whatever files they are in: of a tile or target store, sha256 of
        the tiles' sha256; of an embedding store, sha256 of its data files' sha256.
    version
        Version of the store's layout.
    digests_sha256
        sha256 of the array of the blocks' sums; None in version 1, whose `content_sha256` it is.
    files
        sha256 of each file of the store that belongs to no block, by name; None in version 1.
    store
        URL of the store if it is in an object store; None: next to the manifest.
    """

    format: str
    fingerprint: str
    shape: tuple[int, ...]
    ids_sha256: str
    content_sha256: str
    version: int = FORMAT_VERSION
    digests_sha256: str | None = None
    files: dict[str, str] | None = None
    store: str | None = None

    def write(self, path: Path) -> None:
        """Write the manifest atomically."""
        given = {key: value for key, value in self.__dict__.items() if value is not None}
        write_atomically(path, json.dumps(given, indent=2, sort_keys=True) + "\n")

    def _check_types(self) -> None:
        """Raise an error where a value is not of its type, as after damage."""
        texts = [self.format, self.fingerprint, self.ids_sha256, self.content_sha256]
        optional = (self.digests_sha256, self.store)
        texts += [text for text in optional if text is not None]
        texts += [text for pair in (self.files or {}).items() for text in pair]
        if not all(isinstance(text, str) for text in texts) or not self.shape:
            raise TypeError("a value of another type")
        if self.version not in range(1, FORMAT_VERSION + 1) or min(self.shape) < 1:
            raise ValueError("no such version or shape")
        if self.store is not None:
            checked_url(self.store)

    @classmethod
    def read(cls, path: Path | str, expected_format: str) -> Manifest:
        """Read a manifest, checking format and version.

        Parameters
        ----------
        path
            The file, or the URL of a published one.
        expected_format
            `TILES_FORMAT`, `TARGETS_FORMAT` or `EMBEDDINGS_FORMAT`.

        Raises
        ------
        UserError
            If it is missing, damaged, of another format or of a newer version.
        """
        try:
            value = parse_json(_bytes_of(path))
            if value["version"] > FORMAT_VERSION:
                raise newer_version(path, value["version"])
            manifest = cls(**{**value, "shape": tuple(map(operator.index, value["shape"]))})
            manifest._check_types()
        except FileNotFoundError:
            raise _unreadable(path, "the manifest does not exist") from None
        except OSError as error:
            raise _unreadable(path, f"the manifest cannot be read: {error.strerror}") from None
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise _unreadable(path, "the manifest is damaged") from None
        if manifest.format != expected_format:
            what = f"describes a {manifest.format} store, not {expected_format}"
            raise user_error(path, what, "Give the manifest of the right store.")
        return manifest


def refuse_newer(place: Path | str, version: object) -> None:
    """Raise a `UserError` if a store, or a manifest, is of a newer version of the format."""
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise newer_version(place, version)


def newer_version(place: Path | str, version: int) -> UserError:
    """Return the error for a manifest or store of a newer version of the format."""
    what = f"format version {version} is newer than this program's {FORMAT_VERSION}"
    return user_error(place, what, UPDATE)


def _bytes_of(path: Path | str) -> bytes:
    return path.read_bytes() if isinstance(path, Path) else RemoteFile(path, 0).read_bytes()


def _unreadable(path: Path | str, what: str) -> UserError:
    return user_error(path, what, how_to_remake(path))


def place_of_store(manifest: Path | str, described: Manifest) -> Path | str:
    """Return the path or URL of the store that a manifest describes."""
    if described.store is not None:
        return described.store
    if isinstance(manifest, Path):
        return store_of(manifest)
    return f"{manifest.removesuffix('.json')}.zarr"


def how_to_remake(manifest: Path | str, store: Path | str | None = None) -> str:
    """Return the fix for a damaged store: remake it, or publish it again."""
    if isinstance(manifest, str) or isinstance(store, str):
        return PUBLISH_AGAIN
    removed = shlex.join(["rm", "-rf", str(manifest), str(store_of(manifest))])
    return f"Remake it: {removed}, then the same snakemake command."
