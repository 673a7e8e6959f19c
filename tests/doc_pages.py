"""The code of the documentation's pages, and how it is run."""

import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from factories import environment

BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


def blocks(text: str) -> Iterator[tuple[str, str]]:
    """Yield (language, content) of the fenced blocks of a page."""
    for indent, language, content in BLOCK.findall(text):
        yield language, "\n".join(line.removeprefix(indent) for line in content.splitlines())


def run(command: str, folder: Path, settings: Mapping[str, str] | None = None) -> None:
    """Run a command of a page in a folder; it must succeed."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=folder,
        env={
            **environment(),
            **(settings or {}),
            "HF_HUB_OFFLINE": "0",
            "TRANSFERSCOPE_CACHE": str(folder / "cache"),
            # The package of the copy, so that its commands read the copy's defaults.
            "PYTHONPATH": str(folder / "workflow"),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


def run_block(
    language: str, content: str, folder: Path, settings: Mapping[str, str] | None = None
) -> None:
    """Run a block of a page, if it is of the shell or of Python."""
    if language == "bash":
        run(content, folder, settings)
    elif language == "python":
        run(f"python - <<'END'\n{content}\nEND", folder)
