"""Where the files that come with the package are: workflow, profiles, cards and studies.

In a clone they are at its top; a wheel carries them in `transferscope/shipped`, at the same paths
(setup.py). Everything that needs one of them finds it here.
"""

from __future__ import annotations

import shlex
from importlib.resources import files
from pathlib import Path


def _shipped() -> Path:
    package = Path(str(files("transferscope"))).resolve()
    carried = package / "shipped"
    return carried if carried.is_dir() else package.parents[1]


# The folder that holds Snakefile, profiles, resources and workflow.
SHIPPED = _shipped()
SNAKEFILE = SHIPPED / "Snakefile"
DEMO = SHIPPED / "config.yaml"
PROFILES = SHIPPED / "profiles"
STUDIES = SHIPPED / "resources/studies"
# Edits of this file affect both Snakemake and the commands.
DEFAULTS = SHIPPED / "workflow/defaults.yaml"
# Whether this is a clone, in which `snakemake` finds the workflow by itself.
IS_CLONE = SHIPPED.name != "shipped"
# Extras that `make install` includes.
LOCKED = {"efficientnet", "harmony", "remote", "slurm", "transformers"}


def install_hint(extra: str) -> str:
    """Return how an extra is installed here: into the clone's environment, or by pip.

    Examples
    --------
    >>> "umap" in install_hint("umap")
    True
    """
    if IS_CLONE and extra in LOCKED:
        return f"Install it: `make install` in {SHIPPED}"
    if IS_CLONE:
        command = shlex.join(["uv", "pip", "install", "--editable", f"{SHIPPED}[{extra}]"])
        return f"Install it, with the environment of the clone active: {command}"
    return f"Install it: pip install 'transferscope[{extra}]'"
