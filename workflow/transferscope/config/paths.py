"""Every path of a study, in one place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from transferscope.config.ablation import CHANNEL_WEIGHTS
from transferscope.config.probed import Probed


@dataclass(frozen=True)
class StudyPaths:
    """Paths of a study; each may hold Snakemake wildcards such as ``{dataset}``.

    Parameters
    ----------
    root
        The folder of the study, `<results>/<study>`.
    """

    root: Path

    @property
    def config(self) -> Path:
        """Config of the last run, every key."""
        return self.root / "config.yaml"

    @property
    def versions(self) -> Path:
        """Versions of steps, formats and packages of the last run."""
        return self.root / "versions.json"

    def raw_sheet(self, dataset: str = "{dataset}") -> Path:
        """Sample sheet of a dataset that is simulated or fetched."""
        return self.root / "raw" / dataset / "samples.tsv"

    def fetched(self, dataset: str = "{dataset}") -> Path:
        """Manifest of a fetched dataset: what its sheet and its raw files are."""
        return self.root / "raw" / dataset / "fetched.json"

    def tiles(self, dataset: str = "{dataset}") -> Path:
        """Manifest of a tile store; see `store_of` for the store."""
        return self.root / "tiles" / f"{dataset}.json"

    def reduced_tiles(self, dataset: str = "{dataset}", side: int | str = "{side}") -> Path:
        """Manifest of the store that holds the tiles of a dataset once more, at a side in px."""
        return self.root / "reduced_tiles" / str(side) / f"{dataset}.json"

    def tile_table(self, dataset: str = "{dataset}") -> Path:
        """Table of the tiles: id, group, labels, fov and carried metadata, in store order."""
        return self.root / "tiles" / f"{dataset}.tiles.parquet"

    def relabelled(self, dataset: str = "{dataset}") -> Path:
        """Tile table with the labels given by hand, for a dataset with a label table."""
        return self.root / "labels" / f"{dataset}.parquet"

    def quality(self, dataset: str = "{dataset}") -> Path:
        """Quality table of the tiles, one row per tile and channel."""
        return self.root / "tiles" / f"{dataset}.quality.csv"

    def skipped(self, dataset: str = "{dataset}") -> Path:
        """Table of the fields that were skipped, and why."""
        return self.root / "tiles" / f"{dataset}.skipped.tsv"

    def targets(self, dataset: str = "{dataset}") -> Path:
        """Manifest of a target store, the masks of the tiles; see `store_of` for the store."""
        return self.root / "targets" / f"{dataset}.json"

    def target_table(self, dataset: str = "{dataset}") -> Path:
        """Table of what the mask of each tile shows."""
        return self.root / "targets" / f"{dataset}.tiles.csv"

    def plausibility(self, dataset: str = "{dataset}") -> Path:
        """Table of the plausibility of each field's segmentation, for a cell dataset."""
        return self.root / "cells" / f"{dataset}.plausibility.csv"

    def overlays(self, dataset: str = "{dataset}") -> Path:
        """Folder of the figures with the outlines of the cells, one per field."""
        return self.root / "figures" / "segmentation" / dataset

    def contact_sheets(self, dataset: str = "{dataset}") -> Path:
        """Folder of the contact sheets, one per class."""
        return self.root / "figures" / "contact_sheets" / dataset

    def splits(self, dataset: str = "{dataset}") -> Path:
        """Split table."""
        return self.root / "splits" / f"{dataset}.parquet"

    def trained(self, backbone: str = "{backbone}") -> Path:
        """Manifest of a backbone that is trained in the study; see `weights_of` for its weights."""
        return self.root / "backbones" / f"{backbone}.json"

    def embeddings(
        self,
        dataset: str = "{dataset}",
        backbone: str = "{backbone}",
        channels: str = "{channels}",
    ) -> Path:
        """Manifest of an embedding store; see `store_of` for the store."""
        return self.root / f"embeddings/{dataset}/{backbone}/{channels}.json"

    def ablated(
        self,
        dataset: str = "{dataset}",
        backbone: str = "{backbone}",
        channels: str = "{channels}",
        ablation: str = "{ablation}",
    ) -> Path:
        """Manifest of the embeddings of the same tiles without one channel, or with another's."""
        return self.root / f"ablated/{dataset}/{backbone}/{channels}/{ablation}.json"

    def embeddings_of(self, p: Probed) -> Path:
        """Manifest of the store that an evaluation reads: the network's, or a corrected one."""
        if p.correction is None:
            return self.embeddings(p.dataset, p.backbone, p.stored_channels)
        return self.embeddings(p.dataset, p.representation, p.channels)

    def embedding_part(
        self,
        dataset: str = "{dataset}",
        backbone: str = "{backbone}",
        channels: str = "{channels}",
        part: str = "{part}",
    ) -> Path:
        """Record of one of the jobs that fill an embedding store together that it is done."""
        return self.root / "parts" / dataset / backbone / channels / f"{part}.json"

    def scores(
        self,
        probe: str,
        dataset: str = "{dataset}",
        representation: str = "{representation}",
        channels: str = "{channels}",
    ) -> Path:
        """Score table of one probe ("heads", "knn") on one representation."""
        return self.root / f"scores/{probe}/{dataset}/{representation}/{channels}.parquet"

    def predictions(
        self,
        probe: str,
        dataset: str = "{dataset}",
        representation: str = "{representation}",
        channels: str = "{channels}",
    ) -> Path:
        """Per-sample predictions of one probe on one representation."""
        scores = self.scores(probe, dataset, representation, channels)
        return scores.with_suffix(".predictions.parquet")

    def mask_pictures(
        self,
        dataset: str = "{dataset}",
        backbone: str = "{backbone}",
        channels: str = "{channels}",
    ) -> Path:
        """Figure of the best, the median and the worst predicted masks."""
        return self.root / f"figures/masks/{dataset}/{backbone}/{channels}.png"

    def predicted_masks(
        self,
        dataset: str = "{dataset}",
        backbone: str = "{backbone}",
        channels: str = "{channels}",
    ) -> Path:
        """Manifest of the store of the predicted masks of test tiles."""
        return self.root / f"predicted_masks/{dataset}/{backbone}/{channels}.json"

    def elsewhere(
        self,
        probe: str,
        dataset: str = "{dataset}",
        representation: str = "{representation}",
        channels: str = "{channels}",
    ) -> Path:
        """Scores of the tiles of other datasets, out of domain."""
        return self.scores(probe, dataset, representation, channels).with_suffix(
            ".elsewhere.parquet"
        )

    def halves(
        self,
        probe: str = "{probe}",
        dataset: str = "{dataset}",
        representation: str = "{representation}",
        channels: str = "{channels}",
    ) -> Path:
        """Scores of one probe in halves of the groups, on one representation."""
        return self.scores(probe, dataset, representation, channels).with_suffix(".halves.parquet")

    def transfer(
        self,
        source: str = "{source}",
        dataset: str = "{dataset}",
        representation: str = "{representation}",
        channels: str = "{channels}",
    ) -> Path:
        """Score table of probes trained on one dataset and tested on another one."""
        place = f"scores/transfer/{source}/{dataset}/{representation}"
        return self.root / place / f"{channels}.parquet"

    def measures(self, dataset: str = "{dataset}") -> Path:
        """Numbers of cells, brightness and focus of each tile."""
        return self.root / f"tiles/{dataset}.measures.parquet"

    def nuisance(
        self,
        table: str,
        dataset: str = "{dataset}",
        representation: str = "{representation}",
        channels: str = "{channels}",
    ) -> Path:
        """One table of what a representation knows besides biology."""
        scores = self.scores("nuisance", dataset, representation, channels)
        return scores.with_suffix(f".{table}.parquet")

    def occlusion(
        self,
        dataset: str = "{dataset}",
        representation: str = "{representation}",
        channels: str = "{channels}",
    ) -> Path:
        """Table of what heads on one representation lose where chosen tiles are covered."""
        return self.root / f"occlusion/{dataset}/{representation}/{channels}.parquet"

    def channel_weights(
        self,
        dataset: str = "{dataset}",
        representation: str = "{representation}",
        channels: str = "{channels}",
    ) -> Path:
        """Table of the weights of channels that heads on one representation have chosen."""
        scores = self.scores(CHANNEL_WEIGHTS, dataset, representation, channels)
        return scores.with_suffix(".weights.parquet")

    def losses(
        self,
        probe: str,
        dataset: str = "{dataset}",
        representation: str = "{representation}",
        channels: str = "{channels}",
    ) -> Path:
        """Losses of the trainings of one mode of fine-tuning, one row per step."""
        return self.scores(probe, dataset, representation, channels).with_suffix(".losses.parquet")

    def aggregate_scores(
        self,
        dataset: str = "{dataset}",
        representation: str = "{representation}",
        channels: str = "{channels}",
    ) -> Path:
        """Score table of one representation at every level of aggregation."""
        return self.scores("aggregate", dataset, representation, channels)

    def aggregate_halves(
        self,
        dataset: str = "{dataset}",
        representation: str = "{representation}",
        channels: str = "{channels}",
    ) -> Path:
        """Scores of one representation at every level, in halves of the groups."""
        return self.halves("aggregate", dataset, representation, channels)

    def aggregate_predictions(
        self,
        variant: str,
        dataset: str = "{dataset}",
        representation: str = "{representation}",
        channels: str = "{channels}",
    ) -> Path:
        """Predictions of one representation at one level, such as `tiles-fov-mean`."""
        scores = self.aggregate_scores(dataset, representation, channels)
        return scores.with_suffix("") / f"{variant}.predictions.parquet"

    def relations(self, dataset: str = "{dataset}", name: str = "") -> Path:
        """Folder of what the stores of a dataset recall of known pairs, or a file of it."""
        return self.root / "relations" / dataset / name

    def comparison(self, table: str) -> Path:
        """Table of the comparison."""
        return self.root / "compare" / f"{table}.parquet"

    @property
    def summary_csv(self) -> Path:
        """One row per dataset, backbone, channel strategy, probe, scheme, fraction and metric."""
        return self.root / "summary.csv"

    @property
    def summary_md(self) -> Path:
        """The results of the comparison, in sentences, on one page."""
        return self.root / "summary.md"

    @property
    def details_md(self) -> Path:
        """All that the comparison found, in sentences."""
        return self.root / "details.md"

    @property
    def summary_html(self) -> Path:
        """HTML page with summary and details, for Snakemake's report."""
        return self.root / "summary.html"

    @property
    def report_html(self) -> Path:
        """The report: one file with the answer, all stores and every figure."""
        return self.root / "report.html"

    def figure(self, name: str, extension: str) -> Path:
        """Figure; `name` may hold folders."""
        return self.root / "figures" / f"{name}.{extension}"

    def checksums(self, job: str) -> Path:
        """Record of a job, by the name under which its log is filed; see `runtime.job_records`."""
        return self.root / "checksums" / f"{job}.sha256"

    def log(self, name: str) -> Path:
        """Log of a job."""
        return self.root / "logs" / f"{name}.log"

    def usage(self, name: str) -> Path:
        """Time and memory of a job, as Snakemake's benchmark files have them."""
        return self.root / "benchmarks" / f"{name}.tsv"
