"""Many files: a few at a time, each by itself, and all failures told at the end.

A record in the folder says what each file was when it was put in place, so that a second run
fetches only what is missing or has changed at its source.
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
from urllib.parse import urlsplit

import requests

from transferscope.errors import Problem, UserError
from transferscope.runtime.atomic_files import write_atomically
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
    """What the files of a folder were when they were put in place, as a table in that folder.

    Parameters
    ----------
    folder
        The folder; names in the record are relative to it. A damaged or absent record means that
        nothing is known of the files.
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
        """Return whether a file is there, in the version that is wanted.

        Size and checksum are compared where they are known. The bytes are read only where the
        record does not have the checksum, as after a run that was killed.
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
        """Write down what these files are, which are all in place; sorted, without any times."""
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
    """Fetch what is missing of many files.

    Parameters
    ----------
    wanted
        The files; all of them go into `folder` or below.
    folder
        Folder with the record of what has been fetched.
    description
        What is fetched, for the progress bar.
    connections
        Files fetched at a time.
    patience
        How often and how long to try each.

    Returns
    -------
    list of Failure
        Every file that could not be fetched, in the order of `wanted`; also written to
        `failed.tsv` in the folder, which is absent where there is none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    record = Record(folder)
    missing = [one for one in wanted if not record.has(one)]
    failures: dict[Path, Failure] = {}
    worker = _Worker(patience)
    with (
        worker.sessions,
        ThreadPoolExecutor(connections) as pool,
        progress_bar(description, len(wanted), "files", len(wanted) - len(missing)) as bar,
    ):
        jobs = [pool.submit(worker.fetch, one) for one in missing]
        try:
            for job in as_completed(jobs):
                if (failure := job.result()) is not None:
                    failures[failure.path] = failure
                bar.update()
        finally:
            # After an interruption only the files under way are finished.
            pool.shutdown(cancel_futures=True)
    record.note([one for one in wanted if one.path not in failures])
    found = [failures[one.path] for one in wanted if one.path in failures]
    _write_failures(folder, found)
    return found


class _Worker:
    """Fetches one file at a time in any of several threads, each with a session of its own.

    Parameters
    ----------
    patience
        How often and how long to try each.
    """

    def __init__(self, patience: Patience | None) -> None:
        self.sessions = ExitStack()
        self._patience = patience
        self._of_thread = threading.local()
        self._unreachable: dict[str, str] = {}

    def fetch(self, wanted: Download) -> Failure | None:
        """Fetch a file; return why not, if not."""
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
        except UserError as error:  # the disk refused what was unpacked
            reason = error.problems[0].what
        except OSError as error:
            reason = f"cannot be written: {error}"
        else:
            return None
        return Failure(wanted.path, wanted.url, reason)

    def _session(self) -> requests.Session:
        if not hasattr(self._of_thread, "session"):
            self._of_thread.session = self.sessions.enter_context(new_session())
        session: requests.Session = self._of_thread.session
        return session


def _write_failures(folder: Path, failures: Sequence[Failure]) -> None:
    if not failures:
        (folder / FAILED).unlink(missing_ok=True)
        return
    rows = [f"{f.path.relative_to(folder).as_posix()}\t{f.url}\t{f.reason}" for f in failures]
    write_atomically(folder / FAILED, "\n".join(["name\turl\treason", *rows]) + "\n")


def as_problems(failures: Sequence[Failure], folder: Path) -> list[Problem]:
    """Return failures as problems: the first of them one by one, the rest as a count.

    Parameters
    ----------
    failures
        What `download_all` returned.
    folder
        The folder that was given to it.
    """
    fix = "What has arrived is kept: give the same command again to fetch the rest."
    problems = [Problem(str(f.path), f"{f.url}: {f.reason}", fix) for f in failures[:MOST_SHOWN]]
    if more := len(failures) - len(problems):
        what = f"{more} more files could not be fetched"
        problems.append(Problem(str(folder / FAILED), what, "The table lists all of them."))
    return problems
