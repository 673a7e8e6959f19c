"""`transferscope predict`: labels of new or unlabelled tiles by the winning head of a study."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option, Typer

from transferscope.commands.options import (
    AsJson,
    ConfigIn,
    file_in,
    file_out,
    print_json,
    strategy_name,
)
from transferscope.errors import Problem, UserError, suggest

if TYPE_CHECKING:
    import pandas as pd

    from transferscope.prediction.deploy import Deployment
    from transferscope.prediction.deployed import DeployedHead
    from transferscope.prediction.winner import Winner
    from transferscope.probes.evaluation import ProbeData
    from transferscope.study.study import Study

app = Typer()
TABLES = (".csv", ".tsv", ".parquet")
STORED_BY = "heads"
# Below it, an interval from draws of groups is too narrow by much.
FEW_GROUPS = 10


@app.command()
def predict(
    config: ConfigIn,
    output: Annotated[Path, file_out("Table of labels to write (.csv, .tsv or .parquet).")] = Path(
        "labels.csv"
    ),
    dataset: Annotated[
        str | None, Option(help="Dataset whose labels teach. Default: the first of the study.")
    ] = None,
    backbone: Annotated[
        str | None, Option(help="`backbone` or `backbone@output`. Default: the highest store's.")
    ] = None,
    channels: Annotated[
        str | None,
        Option(parser=strategy_name, help="Channel strategy. Default: the highest store's."),
    ] = None,
    every: Annotated[
        bool,
        Option("--all", help="Also list labelled tiles, as the heads of other folds see them."),
    ] = False,
    embeddings: Annotated[
        Path | None, file_in("Manifest of another embedding store (.json), whose tiles to label.")
    ] = None,
    table: Annotated[Path | None, file_in("Tile table (.parquet) of that store.")] = None,
    save_head: Annotated[Path | None, file_out("File of the head to write (.safetensors).")] = None,
    head: Annotated[
        Path | None, file_in("A head that was saved, to be used as it is; with --embeddings.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Label unlabelled or new tiles by the winning head, with calibrated probabilities."""
    from transferscope.prediction.deployed import DeployedHead
    from transferscope.study.loading import read_study

    _check(output, embeddings, table, head, save_head)
    study = read_study(config)
    name = next(iter(study.datasets)) if dataset is None else dataset
    if name not in study.datasets:
        fix = suggest(name, list(study.datasets))
        raise UserError(Problem("--dataset", f'"{name}" is no dataset of the study', fix))
    if head is not None:
        assert embeddings is not None  # checked above
        assert table is not None
        kept = DeployedHead.read(head)
        rows, labelled = _labelled_by(kept, embeddings, table), {}
    else:
        found, data, best = _deployed(study, name, backbone, channels)
        labelled = {**found.evidence.as_plain(), "difference": found.difference}
        rows = _rows(found, data, study, name, every, embeddings, table)
        if save_head is not None:
            found.head.write(save_head)
        if not as_json:
            _tell(found, best)
    _write(rows, output)
    counts: dict[str, int] = {
        "tiles": len(rows),
        "unlike_labelled": int(rows["unlike_labelled"].sum()),
    }
    if as_json:
        print_json({"output": str(output), **counts, **labelled})
        return
    typer.echo(
        f"{output}: {counts['tiles']:,} tiles, of which {counts['unlike_labelled']:,} are unlike "
        "all labelled ones: do not trust their labels."
    )
    if every and counts["tiles"]:
        typer.echo(
            "Its column `doubt` ranks given labels; `transferscope label --first` shows them."
        )
    if save_head is not None:
        typer.echo(f"{save_head}: the head, for tiles of other studies (--head).")


def _check(
    output: Path,
    embeddings: Path | None,
    table: Path | None,
    head: Path | None,
    save_head: Path | None,
) -> None:
    """Refuse options that do not go together, before anything is computed."""
    problems = []
    if output.suffix not in TABLES:
        fix = f"Give a name that ends in one of {', '.join(TABLES)}."
        problems.append(Problem(str(output), "is no name of a table", fix))
    if (embeddings is None) != (table is None):
        fix = "Give the store and the tile table of the same tiles."
        problems.append(Problem("--embeddings, --table", "need one another", fix))
    if head is not None and (embeddings is None or save_head is not None):
        fix = "Give --head with --embeddings and --table, and without --save-head."
        problems.append(Problem("--head", "is used for the tiles of a store that is named", fix))
    if problems:
        raise UserError(problems)


def _deployed(
    study: Study, dataset: str, backbone: str | None, channels: str | None
) -> tuple[Deployment, ProbeData, Winner]:
    """Return a head of a finished study, the data that it learned from, and where it is from."""
    import torch

    from transferscope.prediction.deploy import deploy
    from transferscope.prediction.deployed import ORIGIN
    from transferscope.prediction.winner import winner
    from transferscope.pretraining.leakage import confirmed
    from transferscope.probes.evaluation import ProbeData
    from transferscope.stores.embedding_store import EmbeddingStore
    from transferscope.stores.parquet import read_parquet

    config, paths = study.config, study.paths
    best = winner(
        paths.summary_csv,
        study.probed(),
        dataset,
        config.heads.kinds,
        config.compare.metric,
        backbone,
        channels,
    )
    probed = best.probed
    card = study.datasets[dataset].card
    own_table = study.table_of(dataset)
    splits = paths.splits(dataset)
    # As the study's own jobs, so that the last digit is the same.
    torch.set_num_threads(config.compute.probe_threads)
    leakage = confirmed(study.leakage(probed.backbone, dataset), own_table, splits)
    data = ProbeData.read(
        paths.embeddings_of(probed),
        probed.representation,
        probed.channels,
        own_table,
        splits,
        card,
        config.splits.fractions,
        config.metrics,
        leakage,
    )
    attributes = EmbeddingStore(paths.embeddings_of(probed)).attributes
    about = {key: attributes.get(key) for key in ORIGIN}
    about |= {"dataset": dataset, "representation": probed.representation}
    about |= {"channels": probed.channels, "scheme": best.scheme}
    stored = read_parquet(
        paths.predictions(STORED_BY, dataset, probed.representation, probed.channels)
    )
    confidence = config.compare.confidence
    found = deploy(best.kind, data, config.heads, best.scheme, stored, about, confidence)
    return found, data, best


def _rows(
    found: Deployment,
    data: ProbeData,
    study: Study,
    dataset: str,
    every: bool,
    embeddings: Path | None,
    table: Path | None,
) -> pd.DataFrame:
    """Return the table of labels: of the tiles of another store, or of the dataset's own."""
    import numpy as np
    import pandas as pd

    from transferscope.prediction.deployed import Labels
    from transferscope.prediction.table import DEPLOYED, OUT_OF_FOLD, label_table
    from transferscope.stores.parquet import read_tile_table

    if embeddings is not None and table is not None:
        return _labelled_by(found.head, embeddings, table)
    tiles = read_tile_table(study.table_of(dataset))
    unlabelled = np.flatnonzero(~data.tiles.labelled)
    if not len(unlabelled) and not every:
        what = f"every tile of {dataset} has a label"
        fix = "Give the tiles to label by --embeddings and --table, or list all by --all."
        raise UserError(Problem("transferscope predict", what, fix))
    classes = found.head.classes
    parts = [
        label_table(
            tiles.iloc[unlabelled],
            found.head.label(data.embeddings[unlabelled]),
            classes,
            DEPLOYED,
        )
    ]
    if every:
        rows, first = np.unique(found.out_of_fold.rows, return_index=True)
        said = Labels(
            found.out_of_fold.predicted[first],
            found.probabilities[first],
            # They are among those that distances are measured from.
            np.full(len(rows), np.nan),
        )
        known = data.tiles.matrix[rows]
        parts.append(label_table(tiles.iloc[rows], said, classes, OUT_OF_FOLD, known))
    return pd.concat([part for part in parts if len(part)], ignore_index=True)


def _labelled_by(head: DeployedHead, embeddings: Path, table: Path) -> pd.DataFrame:
    """Return the labels of the tiles of another store, which has to be of the same backbone."""
    from transferscope.config.probed import Probed
    from transferscope.prediction.deployed import ORIGIN
    from transferscope.prediction.table import DEPLOYED, label_table
    from transferscope.stores.embedding_store import EmbeddingStore
    from transferscope.stores.origin import check_tiles
    from transferscope.stores.parquet import read_tile_table

    store = EmbeddingStore(embeddings)
    about = head.about
    probed = Probed(about["dataset"], about["representation"], about["channels"])
    if probed.correction is not None:
        what = f"the head is of features that are corrected together ({probed.correction})"
        fix = "Take a store without a correction: --backbone and --channels."
        raise UserError(Problem(str(embeddings), what, fix))
    fix = "Embed the tiles with the same card, weights and channels as the head learned from."
    problems = [
        Problem(str(embeddings), f"{key} differs from that of the head", fix)
        for key in ORIGIN
        if store.attributes.get(key) != about.get(key)
    ]
    if problems:
        raise UserError(problems)
    tiles = read_tile_table(table)
    check_tiles(table, tiles, store)
    values = store.read(probed.output, probed.channels)
    return label_table(tiles, head.label(values), head.classes, DEPLOYED)


def _write(rows: pd.DataFrame, output: Path) -> None:
    from transferscope.prediction.table import write_label_table

    write_label_table(rows, output)


def _tell(found: Deployment, best: Winner) -> None:
    for line in _sentences(found, best):
        typer.echo(line)


def _sentences(found: Deployment, best: Winner) -> Sequence[str]:
    """Return what is known of the head."""
    known, probed = found.evidence, best.probed
    equal = "exactly as in the study"
    if found.difference:
        equal = f"as in the study, up to {found.difference:.2g} in a score"
    if found.difference == float("inf"):
        equal = (
            "NOT as in the study: run it again with this version, on this machine, and with "
            "`compute.probes: cpu` if its heads ran on a GPU"
        )
    few = known.n_groups < FEW_GROUPS
    doubt = f"; {known.n_groups} groups are too few to rely on that interval" if few else ""
    chosen = f", the highest of {best.n_stores} stores" if best.n_stores > 1 else ""
    return [
        f"Head: {best.kind} on {probed.representation} / {probed.channels}{chosen}, refitted on "
        f"{known.n_tiles:,} labelled tiles of {known.n_groups:,} groups.",
        f"The {found.n_heads} heads of its folds (split by {best.scheme}) say of their test tiles "
        f"what they said {equal}.",
        f"Wrong on labelled tiles that a head had not seen: {known.error:.1%} "
        f"({known.error_low:.1%} to {known.error_high:.1%}, over groups"
        f"{'; a little more, because the highest was chosen' if chosen else ''}{doubt}).",
        f"Calibration error of the probabilities: {known.calibration_error:.3f} "
        f"(of the head's own scores: {known.uncalibrated_error:.3f}).",
    ]
