"""Download many files, several at a time, and report all failures at the end.

A record in the folder holds size and checksum of each finished file, so that a second run fetches
only what is missing or has changed at its source.
"""

from __future__ import annotations

import csv
import io
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import requests

from transferscope.errors import Problem, UserError, masked
from transferscope.runtime.atomic_files import make_folder, write_atomically
from transferscope.runtime.progress import progress_bar
from transferscope.transport.download import (
    Download,
    DownloadError,
    NoConnectionError,
    download,
    new_session,
)
from transferscope.transport.patience import Patience

RECORD = "fetched.tsv"
FAILED = "failed.tsv"
MOST_SHOWN = 20


@dataclass(frozen=True)
class Failure:
    """A file that could not be fetched, and why."""

    path: Path
    url: str
    reason: str


class Record:
    """Size and checksum of the finished files of a folder, as a table in that folder.

    Parameters
    ----------
    folder
        The folder; names in the record are relative to it. A damaged or absent record is empty.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._rows: dict[str, tuple[str, str]] = {}
        try:
            text = (folder / RECORD).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return
        rows = csv.reader(io.StringIO(text), delimiter="\t")
        self._rows = {row[0]: (row[1], row[2]) for row in list(rows)[1:] if len(row) == 3}

    def has(self, wanted: Download) -> bool:
        """Return whether a file exists in the wanted version.

        Size and checksum are compared if known. The bytes are read only if the record lacks the
        checksum, for example after a killed run.
        """
        if not wanted.path.is_file():
            return False
        size = wanted.path.stat().st_size
        recorded = self._rows.get(self._name(wanted))
        if recorded is not None and recorded[0] != str(size):
            return False
        if recorded is not None and recorded[1] == str(wanted.checksum or ""):
            return True
        if wanted.unpack:
            return recorded is None and wanted.checksum is None
        if wanted.size is not None and wanted.size != size:
            return False
        return wanted.checksum is None or wanted.checksum.of(wanted.path) == wanted.checksum

    def note(self, wanted: Sequence[Download]) -> None:
        """Record finished files; the table is sorted and holds no times."""
        for one in wanted:
            size = str(one.path.stat().st_size)
            self._rows[self._name(one)] = (size, str(one.checksum or ""))
        lines = ["name\tsize\tchecksum"]
        lines += ["\t".join([name, *self._rows[name]]) for name in sorted(self._rows)]
        write_atomically(self._folder / RECORD, "\n".join(lines) + "\n")

    def _name(self, wanted: Download) -> str:
        return wanted.path.relative_to(self._folder).as_posix()


def download_all(
    wanted: Sequence[Download],
    folder: Path,
    description: str,
    connections: int = 4,
    patience: Patience | None = None,
) -> list[Failure]:
    """Fetch those of many files that are missing.

    Parameters
    ----------
    wanted
        The files; all paths lie below `folder`.
    folder
        Folder with the record.
    description
        Title of the progress bar.
    connections
        Files fetched at a time.
    patience
        Retries and timeouts per file.

    Returns
    -------
    list of Failure
        Every file that could not be fetched, in the order of `wanted`; also written to
        `failed.tsv` in the folder, which is deleted if there is none.
    """
    make_folder(folder)
    record = Record(folder)
    missing = [one for one in wanted if not record.has(one)]
    worker = _Worker(patience)
    with (
        worker.sessions,
        ThreadPoolExecutor(connections) as pool,
        progress_bar(description, len(wanted), "files", len(wanted) - len(missing)) as bar,
    ):
        jobs = [pool.submit(worker.fetch, one) for one in missing]
        try:
            for job in as_completed(jobs):
                job.result()
                bar.update()
        finally:
            # After an interruption only downloads in progress are finished.
            pool.shutdown(cancel_futures=True)
    failures = [failure for job in jobs if (failure := job.result())]
    failed = {failure.path for failure in failures}
    record.note([one for one in wanted if one.path not in failed])
    _write_failures(folder, failures)
    return failures


class _Worker:
    """Fetches files in several threads, with one session per thread.

    Parameters
    ----------
    patience
        Retries and timeouts per file.
    """

    def __init__(self, patience: Patience | None) -> None:
        self.sessions = ExitStack()
        self._patience = patience
        self._of_thread = threading.local()
        self._unreachable: dict[str, str] = {}

    def fetch(self, wanted: Download) -> Failure | None:
        """Fetch a file; return the failure, if any."""
        host = urlsplit(wanted.url).netloc
        if host in self._unreachable:
            reason = f"not tried, because another file failed: {self._unreachable[host]}"
            return Failure(wanted.path, wanted.url, reason)
        try:
            download(wanted, self._patience, self._session())
        except DownloadError as error:
            if isinstance(error, NoConnectionError):
                self._unreachable[host] = error.reason
            reason = error.reason
        except UserError as error:  # an error of the disk while unpacking
            reason = error.problems[0].what
        except OSError as error:
            reason = f"cannot be written: {error}"
        else:
            return None
        return Failure(wanted.path, wanted.url, reason)

    def _session(self) -> requests.Session:
        if not hasattr(self._of_thread, "session"):
            self._of_thread.session = self.sessions.enter_context(new_session())
        return cast(requests.Session, self._of_thread.session)


def _write_failures(folder: Path, failures: Sequence[Failure]) -> None:
    if not failures:
        (folder / FAILED).unlink(missing_ok=True)
        return
    rows = [
        f"{f.path.relative_to(folder).as_posix()}\t{masked(f.url)}\t{masked(f.reason)}"
        for f in failures
    ]
    write_atomically(folder / FAILED, "\n".join(["name\turl\treason", *rows]) + "\n")


def as_problems(failures: Sequence[Failure], folder: Path) -> list[Problem]:
    """Return failures as problems: the first `MOST_SHOWN`, and the number of the others.

    Parameters
    ----------
    failures
        What `download_all` returned.
    folder
        The folder that was given to it.
    """
    fix = "Files that have arrived are kept: repeat the command to fetch the others."
    problems = [Problem(str(f.path), f"{f.url}: {f.reason}", fix) for f in failures[:MOST_SHOWN]]
    if more := len(failures) - len(problems):
        what = f"{more} more files could not be fetched"
        problems.append(Problem(str(folder / FAILED), what, "The table lists all of them."))
    return problems
