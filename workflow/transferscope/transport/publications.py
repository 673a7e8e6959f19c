"""A published study: its files, verified against its list of checksums."""

from __future__ import annotations

import hashlib

from transferscope.errors import user_error
from transferscope.runtime.checksum_list import CHECKSUMS, read_list
from transferscope.transport.access import PUBLISH_AGAIN, located_anywhere, translated_errors
from transferscope.transport.urls import joined


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
        with translated_errors(joined(self.place, name)):
            try:
                return bytes(self._system.cat_file(f"{self._path}/{name}"))
            except FileNotFoundError:
                return None
