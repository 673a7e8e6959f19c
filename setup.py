"""The build: the wheel carries the workflow, its profiles, and all cards, next to the code."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

# Relative to this file. In the package they are below `transferscope/shipped`, at the same paths,
# so that the same Snakefile is right in both places (workflow/transferscope/runtime/shipped.py).
CARRIED = (
    "Snakefile",
    "config.yaml",
    "envs/*",
    "profiles/*/*",
    "resources/*/*",
    "workflow/Snakefile",
    "workflow/defaults.yaml",
    "workflow/report/*.rst",
    "workflow/rules/*.smk",
    "workflow/schemas/*.json",
    "workflow/transferscope/figures/*.rst",
)
HERE = Path(__file__).parent


class BuildWithWorkflow(build_py):
    """Copies what the workflow consists of, except into an editable installation."""

    def run(self):
        """Build the package."""
        super().run()
        if self.editable_mode:
            return
        for source, target in self._carried():
            target.parent.mkdir(parents=True, exist_ok=True)
            self.copy_file(str(source), str(target))

    def _carried(self):
        below = Path(self.build_lib) / "transferscope/shipped"
        for pattern in CARRIED:
            if not (found := sorted(HERE.glob(pattern))):
                raise FileNotFoundError(f"the workflow's {pattern} are not where they belong")
            yield from ((path, below / path.relative_to(HERE)) for path in found if path.is_file())

    def get_outputs(self, include_bytecode=True):
        """Return the files that the build writes."""
        outputs = super().get_outputs(include_bytecode)
        return outputs if self.editable_mode else [*outputs, *(str(t) for _, t in self._carried())]


setup(cmdclass={"build_py": BuildWithWorkflow})
