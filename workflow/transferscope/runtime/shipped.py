"""Where the files that come with the package are: workflow, profiles, cards and studies.

In a clone they are at its top; a wheel carries them in `transferscope/shipped`, at the same paths
(setup.py). Everything that needs one of them finds it here.
"""

from __future__ import annotations

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
