"""The package keeps its layout: where modules stand, and which way imports go."""

import subprocess
import sys
from pathlib import Path

from factories import REPOSITORY

PACKAGE = REPOSITORY / "workflow/transferscope"


def test_imports_follow_the_flow_of_data_and_make_no_circle():
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 kept, 0 broken" in done.stdout


def test_hardly_a_module_stands_outside_a_package():
    assert {path.name for path in PACKAGE.glob("*.py")} == {"__init__.py", "errors.py"}


def test_the_architecture_page_names_every_package():
    page = (REPOSITORY / "docs/architecture.md").read_text()
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert {name for name in packages if name not in page} == set()
