"""A published study: its files, verified against its list of checksums."""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath

from transferscope.errors import UserError, user_error
from transferscope.runtime.checksum_list import CHECKSUMS, read_list
from transferscope.runtime.plain_files import file_problem
from transferscope.transport.access import PUBLISH_AGAIN, located_anywhere, translated_errors
from transferscope.transport.urls import is_url, joined


class Publication:
    """A complete publication.

    Parameters
    ----------
    place
        URL or folder of one study.

    Raises
    ------
    UserError
        If it cannot be reached, or its publication was not finished.
    """

    def __init__(self, place: str) -> None:
        self.place = place
        self._system, self._path = located_anywhere(place)
        content = self._content(CHECKSUMS)
        if content is None:
            what = f"holds no {CHECKSUMS}: nothing was published here, or it did not finish"
            fix = "Name the folder of one study, or repeat `transferscope publish`."
            raise user_error(place, what, fix)
        self.sums = read_list(content)
        strange = next((name for name in self.sums if not _is_inside(name)), None)
        if strange is not None or not self.sums:
            what = "its list of checksums names no file"
            if strange is not None:
                what = f'its list of checksums names "{strange}", which is no file of a study'
            raise user_error(joined(place, CHECKSUMS), what, PUBLISH_AGAIN)

    def read(self, name: str) -> bytes:
        """Return a file, named relative to the study's folder, after checking its checksum.

        Raises
        ------
        UnreachableError
            If it cannot be requested.
        UserError
            If it is missing or differs from its checksum.
        """
        content = self._content(name)
        if content is None:
            what = "is missing"
        elif hashlib.sha256(content).hexdigest() != self.sums.get(name):
            what = "differs from its checksum"
        else:
            return content
        raise user_error(joined(self.place, name), what, PUBLISH_AGAIN)

    def _content(self, name: str) -> bytes | None:
        """Return a file, or None if it does not exist."""
        if not is_url(self.place):
            # A pipe or a device would be read for ever.
            problem = file_problem(Path(self.place, name))
            if problem is not None and Path(self.place, name).exists():
                raise UserError(problem)
        with translated_errors(joined(self.place, name)):
            try:
                return bytes(self._system.cat_file(f"{self._path}/{name}"))
            except FileNotFoundError:
                return None


def _is_inside(name: str) -> bool:
    """Return whether a name of a list is that of a file below the folder of the list."""
    return bool(name) and not PurePosixPath(name).is_absolute() and ".." not in name.split("/")
