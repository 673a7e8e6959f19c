"""A study that was published: its files, compared with the checksums that were sent last."""

from __future__ import annotations

import hashlib

from transferscope.errors import Problem, UserError
from transferscope.runtime.checksum_list import CHECKSUMS, read_list
from transferscope.transport.access import PUBLISH_AGAIN, asking, located_anywhere
from transferscope.transport.urls import joined


class Publication:
    """A publication that is whole.

    Parameters
    ----------
    place
        URL or folder of one study.

    Raises
    ------
    UserError
        Where it cannot be reached, or was not published to its end.
    """

    def __init__(self, place: str) -> None:
        self.place = place
        self._system, self._path = located_anywhere(place)
        content = self._content(CHECKSUMS)
        if content is None:
            what = f"holds no {CHECKSUMS}: nothing was published here, or not to the end"
            fix = "Name the folder of one study, or give the command `publish` again."
            raise UserError(Problem(place, what, fix))
        self.sums = read_list(content)

    def read(self, name: str) -> bytes:
        """Return a file next to the stores, named relative to the study's folder.

        Raises
        ------
        UnreachableError
            Where it cannot be asked for.
        UserError
            Where it is missing, or is not what was sent.
        """
        content = self._content(name)
        if content is None:
            what = "is missing"
        elif hashlib.sha256(content).hexdigest() != self.sums.get(name):
            what = "differs from its checksum"
        else:
            return content
        raise UserError(Problem(joined(self.place, name), what, PUBLISH_AGAIN))

    def _content(self, name: str) -> bytes | None:
        """Return a file; None: it is not there."""
        with asking(joined(self.place, name)):
            try:
                return bytes(self._system.cat_file(f"{self._path}/{name}"))
            except FileNotFoundError:
                return None
