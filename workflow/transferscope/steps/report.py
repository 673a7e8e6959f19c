"""The step that writes the report."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from transferscope.costs.needs import TABLES_MB, TORCH_MB, Need, matrices_mb
from transferscope.costs.sizes import Sizes
from transferscope.probes.registry import probe_names
from transferscope.steps.results import nested
from transferscope.steps.step import Job, Shown, Step, Wildcards
from transferscope.study.study import Study


class Report(Step):
    """Write the report: the answer, all stores and every figure in one file.

    Parameters
    ----------
    study, sizes
        As of every step.
    drawing
        The steps whose figures it shows.
    """

    name = "report"
    version = 3
    options = (
        "study_folder=folder",
        "settings",
        "figures",
        "stores",
        "datasets",
        "output=report",
    )

    def __init__(self, study: Study, sizes: Sizes, drawing: Iterable[Step]) -> None:
        super().__init__(study, sizes)
        self._shown = [
            (shown, job) for step in drawing for job in step.planned for shown in _pictures(step)
        ]

    def jobs(self) -> Sequence[Job]:
        return [{}]

    def inputs(self) -> dict[str, Any]:
        figures = [Path(str(shown.path).format(**job)) for shown, job in self._shown]
        if not self.config.scored:
            described = [*map(self.study.table_of, self.study.datasets)]
            return {"pictures": figures, "tile_tables": described}
        named = ("leaderboard", "chosen", "per_class")
        tables = [self.paths.comparison(table) for table in named]
        texts = [self.paths.summary_md, self.paths.details_md]
        frozen = [(probe, p) for p in self.study.probed() for probe in probe_names(self.config)]
        of_tiles = {
            "embeddings": [self.paths.embeddings_of(p) for p in self.study.probed()],
            "predictions": [
                self.paths.predictions(probe, p.dataset, p.representation, p.channels)
                for probe, p in frozen
            ],
            "tiles": [self.paths.tiles(name) for name in self.study.image_datasets],
            "tile_tables": [*map(self.study.table_of, self.study.datasets)],
        }
        of_tiles = {name: [*dict.fromkeys(paths)] for name, paths in of_tiles.items() if paths}
        return {"tables": tables, "texts": texts, "pictures": figures, **of_tiles}

    def _files(self, dataset: str) -> dict[str, str]:
        files = {
            "card": self.study.all_datasets[dataset].path,
            "table": self.study.table_of(dataset),
        }
        if dataset in self.study.image_datasets:
            files["tiles"] = self.paths.tiles(dataset)
        return {name: str(path) for name, path in files.items()}

    def outputs(self) -> dict[str, Any]:
        return {"report": self.paths.report_html}

    def params(self) -> dict[str, Any]:
        figures = [
            {
                "path": str(shown.path.relative_to(self.paths.root)).format(**job),
                "caption": shown.caption,
                "category": shown.category,
                "labels": {key: text.format(**job) for key, text in shown.labels.items()},
                "wildcards": job,
            }
            for shown, job in self._shown
        ]
        quoted = {"study", "compare", "figures", "knn"}
        if not self.config.scored:
            quoted |= {"scored", "splits"}
        return {
            "folder": self.paths.root,
            "settings": self.config.model_dump_json(include=quoted),
            "figures": json.dumps(figures, separators=(",", ":")),
            "stores": nested(self.study.probed()),
            "datasets": json.dumps({name: self._files(name) for name in self.study.datasets}),
            "more": [text for probe in probe_names(self.config) for text in ("--probe", probe)],
        }

    def need(self, wildcards: Wildcards) -> Need:
        """Return the need of the page: one matrix, and the tiles of the map of each dataset."""
        stores = [matrices_mb(*self.sizes.probed(p)) for p in self.study.probed()]
        return Need.of(TORCH_MB + 2 * TABLES_MB + max(stores, default=0), 60)


def _pictures(step: Step) -> list[Shown]:
    """Return the figures of a step, with wildcards."""
    shown = (output for output in step.outputs().values() if isinstance(output, Shown))
    return [one for one in shown if not one.is_folder and one.path.suffix == ".svg"]
