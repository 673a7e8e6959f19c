"""A whole study as its steps: targets, number of jobs, and the messages at its end."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from transferscope.costs.sizes import Sizes
from transferscope.steps import (
    ablate,
    data,
    embed,
    given,
    join,
    nuisance,
    probe,
    relate,
    report,
    results,
    segment,
    transfer,
)
from transferscope.steps.step import Step
from transferscope.study.run_command import run_command
from transferscope.study.study import Study


class Plan:
    """The steps of one study, in the order in which data flows.

    Parameters
    ----------
    study
        The study.
    sizes
        How large its data and networks are; None: as found by the checks before the run.
    """

    def __init__(self, study: Study, sizes: Sizes | None = None) -> None:
        self.study = study
        self.paths = study.paths
        self.config = study.config
        self.sizes = sizes or Sizes(study)

    @cached_property
    def steps(self) -> dict[str, Step]:
        """The steps that the study has jobs for, by name."""
        study, sizes = self.study, self.sizes
        kinds = [*data.STEPS, *given.STEPS, *embed.STEPS]
        if not study.config.scored:
            kinds = [kind for kind in kinds if kind is not data.Splits]
            made = [kind(study, sizes) for kind in (*kinds, results.EmbeddingMaps)]
            made = [step for step in made if step.planned]
            return {step.name: step for step in (*made, report.Report(study, sizes, made))}
        steps = [kind(study, sizes) for kind in kinds]
        steps += probe.probe_steps(study, sizes)
        last = (
            *probe.STEPS,
            *transfer.STEPS,
            *nuisance.STEPS,
            *ablate.STEPS,
            *join.STEPS,
            *relate.STEPS,
            *segment.STEPS,
            *results.STEPS,
        )
        steps += [kind(study, sizes) for kind in last]
        steps += results.figure_steps(study, sizes)
        # The order in which they are read: those of all stores first.
        shown = [step for step in steps if step.planned]
        shown.sort(key=lambda step: not isinstance(step, results.Figure))
        steps.append(report.Report(study, sizes, shown))
        return {step.name: step for step in steps if step.planned}

    def targets(self) -> list[Path]:
        """Return the files that a finished study consists of.

        Stores and tables are among them, though figures need them anyway: what is lost or removed
        as damaged is made again, also where all that follows from it is still there.
        """
        return [path for step in self.steps.values() if step.is_target for path in step.files()]

    def jobs(self) -> dict[str, int]:
        """Return rule -> number of jobs, if nothing of the study has been made yet.

        In the order in which data flows. The figures count as one rule, `figures`; Snakemake's own
        target `all` is left out.
        """
        counted: dict[str, int] = {}
        for step in self.steps.values():
            rule = "figures" if isinstance(step, results.Figure) else step.name
            counted[rule] = counted.get(rule, 0) + len(step.planned)
        return counted

    @property
    def versions(self) -> dict[str, int]:
        """Step -> its version."""
        return {name: step.version for name, step in self.steps.items()}

    @cached_property
    def readers(self) -> dict[str, set[str]]:
        """Step -> the steps of which some job reads what it writes."""
        made_by = {path: name for name, step in self.steps.items() for path in step.files()}
        found: dict[str, set[str]] = {name: set() for name in self.steps}
        for name, step in self.steps.items():
            for path in step.files_read():
                if path in made_by:
                    found[made_by[path]].add(name)
        return found

    def closing_message(self, configs: Sequence[Path | str] = ()) -> str:
        """Say where the results of a finished run are.

        Parameters
        ----------
        configs
            Files of the study that the run was given.
        """
        paths = self.paths
        if not all(target.exists() for target in self.targets()):
            return (
                f"\nThe files that were asked for are made; study {self.config.study} has more.\n"
            )
        first = "What won" if self.config.scored else "Why nothing is scored"
        scores = [
            ("What won, on one page", paths.summary_md),
            ("All that was compared", paths.details_md),
            ("All scores with intervals", paths.summary_csv),
        ]
        lines = [
            (f"{first}, with every figure", paths.report_html),
            *(scores if self.config.scored else ()),
            ("Figures (SVG and PNG)", paths.root / "figures"),
            ("Embedding stores (Zarr)", paths.root / "embeddings"),
            ("Logs, one per job", paths.root / "logs"),
        ]
        if self.study.trained:
            lines.insert(-1, ("Backbones trained here", paths.trained("").parent))
        width = max(len(what) for what, _ in lines)
        listing = "\n".join(f"  {what:<{width}}  {path}" for what, path in lines)
        report_file = str(paths.root / "snakemake-report.html")
        command = run_command("--cores", "1", "--report", report_file, configs=configs)
        own = f"  Snakemake's own report, with the history of each file: {command}"
        return f"\nStudy {self.config.study} is complete.\n{listing}\n{own}\n"

    def failure_message(self) -> str:
        """Say where to look after a failed run."""
        logs = self.paths.root / "logs"
        return (
            f"\nStudy {self.config.study} is not complete. Where a step failed, its message is "
            f"above and in {logs}: fix the cause.\nFinished results are kept. Give the same "
            "command again, also after an interruption; it continues from there.\n"
        )
