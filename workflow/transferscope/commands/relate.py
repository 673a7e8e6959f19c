"""`transferscope relate`: known biology from embeddings, of stores or of any table of features."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option, Typer

from transferscope.commands.options import json_option, parsed_json, print_table
from transferscope.errors import Problem, UserError

if TYPE_CHECKING:
    import pandas as pd

app = Typer()
DPI = 150
# Columns of the printed table.
SHOWN = ["map", "correction", "source", "null", "recall", "chance", "AUROC", "pairs"]


def _stores(text: str) -> list[tuple[str, Path, str | None, str | None]]:
    """Return name, manifest, output and channel strategy of each store."""
    found = parsed_json(text, "--stores")
    try:
        stores = [(name, Path(path), output, own) for name, path, output, own in found]
        are_texts = all(
            isinstance(each, str) or each is None for name, _, *rest in stores for each in rest
        ) and all(isinstance(name, str) for name, *_ in stores)
    except (TypeError, ValueError):
        are_texts = False
    if not are_texts:
        what = "is no list of stores: each has name, manifest, output or null, strategy or null"
        raise UserError(Problem("--stores", what, "Leave it out, and name the manifests."))
    return stores


@app.command()
def relate(
    maps: Annotated[
        list[str] | None,
        Argument(
            help=(
                "Embeddings: tables (.parquet, .csv, .tsv) or manifests of stores (.json), each as "
                "`path` or `name=path`. The first is the reference of the differences."
            )
        ),
    ] = None,
    *,
    source: Annotated[
        list[str],
        Option(help="Known pairs: name or path of a relation card, or a table of two columns."),
    ],
    output: Annotated[Path, Option(help="Folder to write the tables into.")] = Path("relations"),
    table: Annotated[
        Path | None, Option(help="Tile table (.parquet) of the stores; it has the columns below.")
    ] = None,
    entity: Annotated[
        str | None,
        Option(help="Column of the gene, protein or compound; default: perturbation, or group."),
    ] = None,
    batch: Annotated[
        str | None, Option(help="Column of the batch, such as the plate; default: batch.")
    ] = None,
    control: Annotated[
        str | None, Option(help="Column that tells the negative controls; default: control.")
    ] = None,
    control_value: Annotated[
        list[str] | None,
        Option(help="Its value for a negative control; may be repeated. Default: true, yes or 1."),
    ] = None,
    position: Annotated[
        str | None, Option(help="Column of the well within its plate; default: well.")
    ] = None,
    labels: Annotated[
        str | None,
        Option(
            help="Column of labels, separated by `;`: adds recall among pairs that share one, "
            "and the labels alone as a map."
        ),
    ] = None,
    targets: Annotated[
        str | None,
        Option(help="Column of targets, separated by `;`: adds their consistency."),
    ] = None,
    ignore: Annotated[
        list[str] | None, Option(help="A column that is no feature; may be repeated.")
    ] = None,
    correction: Annotated[
        list[str] | None,
        Option(
            help="none, center, scale, standardise, sphere, tvn or harmony; default: none; may be "
            "repeated."
        ),
    ] = None,
    published: Annotated[
        bool, Option("--published", help="Corrections exactly as published, without safeguards.")
    ] = False,
    aggregate: Annotated[str, Option(help="mean or median over the rows of an entity.")] = "mean",
    threshold: Annotated[
        list[float] | None, Option(help="Share of all pairs that are hits; may be repeated.")
    ] = None,
    min_entities: Annotated[int, Option(help="Least number of entities to score.")] = 20,
    permutations: Annotated[int, Option(help="Permutations of names for p and chance.")] = 200,
    draws: Annotated[int, Option(help="Bootstrap draws of entities for the intervals.")] = 1000,
    level: Annotated[float, Option(help="Level of intervals and chance bands.")] = 0.95,
    seed: Annotated[int, Option(help="Seed of draws and permutations.")] = 0,
    references: Annotated[
        bool, Option(help="Also score random embeddings and the labels alone.")
    ] = True,
    store_output: Annotated[
        str | None, Option(help="Output of the backbone to read from stores; default: the first.")
    ] = None,
    channels: Annotated[
        str | None, Option(help="Channel strategy to read from stores; default: all passes.")
    ] = None,
    stores: Annotated[
        Any,
        json_option(
            _stores,
            "Stores of a study: a list of name, manifest, output or null, and channel strategy.",
            default="[]",
        ),
    ],
) -> None:
    """Ask whether embeddings recall pairs that databases know; write tables with intervals."""
    from transferscope.cards.lookup import card_roots
    from transferscope.config.model import validate
    from transferscope.config.relations import RelationSettings
    from transferscope.config.roles import RoleSettings
    from transferscope.figures.complexes import draw_complexes
    from transferscope.figures.recall import draw_recall
    from transferscope.figures.style import EXTENSIONS, save, style
    from transferscope.relations.maps import Roles, read_map
    from transferscope.relations.run import relate as run
    from transferscope.relations.sources import distinct_names, read_source

    chosen: dict[str, Any] = {
        "corrections": correction or ["none"],
        "published": published,
        "aggregate": aggregate,
        "thresholds": threshold or [0.05],
        "min_entities": min_entities,
        "permutations": permutations,
        "draws": draws,
        "level": level,
        "seed": seed,
    }
    settings = validate(chosen, RelationSettings, "options")
    named = {
        "perturbation": entity,
        "batch": batch,
        "control": control,
        "control_values": control_value or [],
        "position": position,
    }
    columns = validate(named, RoleSettings, "options")
    roles = Roles(columns, labels, targets, ignore or ())
    wanted = [(name, path, store_output, channels) for name, path in _named(maps or [])]
    wanted += stores
    if not wanted:
        raise UserError(Problem("maps", "none is given", "Name a table or a store."))
    sources = [read_source(ref, card_roots()) for ref in source]
    distinct_names(sources)
    read = [read_map(name, path, roles, table, *of_store) for name, path, *of_store in wanted]
    related = run(read, sources, settings, references=references)
    related.write(output)
    with style():
        for name, figure in (
            ("recall", draw_recall(related.tables["recall"])),
            ("complexes", draw_complexes(related.tables["similarity"])),
        ):
            save(figure, [output / f"{name}{extension}" for extension in EXTENSIONS], DPI)
    print_table(SHOWN, _rows(related.tables["recall"]), left=SHOWN[:4], width=120)
    for sentence in related.sentences:
        print(sentence)
    print(
        f"wrote {', '.join(f'{name}.csv' for name in related.tables)} and record.json to {output}"
    )


def _named(maps: list[str]) -> list[tuple[str, Path]]:
    """Return name and path of each map; a name is that of the file unless given as `name=path`."""
    found: dict[str, Path] = {}
    for text in maps:
        name, _, path = text.partition("=") if "=" in text else (Path(text).stem, "", text)
        if name in found:
            fix = "Give them as `name=path`, with different names."
            raise UserError(Problem(text, f'two maps are named "{name}"', fix))
        found[name] = Path(path)
    return list(found.items())


def _rows(table: pd.DataFrame) -> list[list[str]]:
    """Return the cells of the printed table: two-sided recall at the first threshold, and AUROC."""
    from transferscope.relations.table_names import AUROC, SCORED, TWO_SIDED

    rows = []
    scored = table[table["status"] == SCORED]
    for names, own in scored.groupby(["map", "correction", "source", "null"], sort=False):
        recall = own[own["measure"] == TWO_SIDED].iloc[0]
        area = own[own["measure"] == AUROC].iloc[0]
        chance = f"{recall['chance']:.3f}"
        if recall["chance_low"] == recall["chance_low"]:  # not NaN
            chance = f"{recall['chance_low']:.3f}-{recall['chance_high']:.3f}"
        value = f"{recall['value']:.3f}"
        if recall["low"] == recall["low"]:
            value += f" ({recall['low']:.3f}-{recall['high']:.3f})"
        cells = [value, chance, f"{area['value']:.3f}", f"{recall['n_pairs']:,}"]
        rows.append([*map(str, names), *cells])
    return rows
