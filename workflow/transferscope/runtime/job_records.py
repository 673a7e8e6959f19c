"""The record of a job: what it was made from, and the sha256 of each file that it has written.

All records of a study together are its list of checksums, in the format of `sha256sum`; lines that
begin with `#` say the rest. A record is written twice: when the job begins, and when it ends. It
ends with a checksum of its own.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from transferscope.runtime.atomic_files import write_atomically
from transferscope.runtime.checksum_list import as_list, read_list
from transferscope.runtime.json_text import parse_json

FIRST, JOB, MADE_FROM, MAKES, BEGUN, LAST = (
    f"# {key}"
    for key in ("transferscope job record", "job", "made from", "makes", "begun", "sha256")
)
VERSION = 1


class DamagedRecordError(Exception):
    """A record that is not what was written."""


class NewerRecordError(Exception):
    """A record that a newer version of the program has written."""


@dataclass(frozen=True)
class JobRecord:
    """What is known of a job.

    Parameters
    ----------
    job
        Its name, as its log is filed: `heads/cells/tiny/map`.
    made_from
        Digests of what its results depend on, by name; empty: unknown.
    makes
        Its outputs, files or folders, relative to the folder of the study.
    sums
        sha256 of each file by name, relative to the folder of the study; None: it has not ended.
    """

    job: str
    made_from: Mapping[str, str] = field(default_factory=dict)
    makes: tuple[str, ...] = ()
    sums: Mapping[str, str] | None = None

    @property
    def text(self) -> str:
        """The record as it is written."""
        made_from = json.dumps(dict(self.made_from), sort_keys=True)
        lines = [f"{FIRST} {VERSION}", f"{JOB} {self.job}", f"{MADE_FROM} {made_from}"]
        lines += [f"{MAKES} {name}" for name in self.makes]
        body = "".join(f"{line}\n" for line in lines)
        body += f"{BEGUN}\n" if self.sums is None else as_list(self.sums).decode()
        return f"{body}{LAST} {_sha256(body)}\n"

    def write(self, path: Path) -> None:
        """Write the record atomically."""
        write_atomically(path, self.text)

    @classmethod
    def read(cls, path: Path, job: str) -> JobRecord:
        """Read the record of a job.

        Raises
        ------
        FileNotFoundError
            If there is none.
        DamagedRecordError
            If it is not what was written, or is that of another job.
        NewerRecordError
            If a newer version has written it.
        """
        try:
            text = path.read_bytes().decode()
        except UnicodeDecodeError as error:
            raise DamagedRecordError("not text") from error
        version = text.partition("\n")[0].removeprefix(f"{FIRST} ")
        if re.fullmatch(r"[1-9][0-9]{0,8}", version) and int(version) > VERSION:
            raise NewerRecordError(version)
        body, last, sum_ = text.rpartition(f"{LAST} ")
        if not last or sum_ != f"{_sha256(body)}\n":
            raise DamagedRecordError("differs from its own checksum")
        lines = body.split("\n")[:-1]
        said = {key: _values(lines, key) for key in (JOB, MADE_FROM, MAKES)}
        if said[JOB] != [job]:
            raise DamagedRecordError(f"is that of {', '.join(said[JOB]) or 'no job'}")
        try:
            made_from = dict(parse_json("\n".join(said[MADE_FROM])))
        except (ValueError, TypeError):
            raise DamagedRecordError("does not say what the job was made from") from None
        sums = "".join(f"{line}\n" for line in lines if not line.startswith("#"))
        ended = None if BEGUN in lines else read_list(sums.encode())
        return cls(job, made_from, tuple(said[MAKES]), ended)


def _values(lines: list[str], key: str) -> list[str]:
    return [line.removeprefix(f"{key} ") for line in lines if line.startswith(f"{key} ")]


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
