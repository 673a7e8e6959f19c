import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from docutils.core import publish_parts
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import StrictUndefined, Template
from PIL import Image
from sklearn.neighbors import NearestNeighbors

from comparison_data import embed, make_tiles, write_study, write_transfers
from transferscope.cards import DatasetCard
from transferscope.compare.study import compare
from transferscope.config.jobs import Comparison
from transferscope.config.results import CompareSettings, FigureSettings
from transferscope.errors import UserError
from transferscope.figures.curves import highlighted, looks_of_study
from transferscope.figures.dispatch import draw_figure
from transferscope.figures.embedding_maps import (
    StoreView,
    colour_by_class,
    draw_embedding_maps,
    neighbour_purity,
)
from transferscope.figures.projection import project
from transferscope.figures.registry import FIGURES
from transferscope.figures.results import Results
from transferscope.figures.style import (
    MANY_COLOURS,
    STRATEGY_COLOURS,
    label_of,
    new_figure,
    save,
    strategy_colours,
    style,
    text_colour,
)
from transferscope.runtime.shipped import install_hint
from transferscope.stores.block_store import BlockStore
from transferscope.stores.manifest import EMBEDDINGS_FORMAT, store_of
from transferscope.stores.parquet import write_parquet

SETTINGS = FigureSettings(dpi=60)
OF_EVERY_STUDY = sorted(name for name, figure in FIGURES.items() if not figure.tables)
ODD = ["cyto$plasmic$_a", "nucleus <b>x</b> & y", "µ-tubules", "NA"]
LONG = "a_very_long_backbone_name.with_many_parts@and-an-output-that-never-ends-at-all_really"
STORES = [
    (LONG, "map", 0.8),
    ("dino", "map-random", 2.0),
    ("dino", "map", 1.0),
    ("handcrafted", "features", 2.5),
]


def compared(folder: Path, tiles, stores, **options) -> Path:
    study = write_study(folder, tiles, stores, **options)
    operations = {
        name: {LONG + " / map": 3.5e10, "dino / map": 1e9} for name in ("odd$set", "cells")
    }
    settings = Comparison(bootstrap=100, operations=operations)
    outputs = (folder / "compare", folder / "summary.csv", folder / "summary.md")
    compare(study.scores, study.predictions, settings, *outputs)
    return folder


def draw(folder: Path, name: str, output: Path) -> tuple[str, Image.Image]:
    files = [output / f"{name}.svg", output / f"{name}.png"]
    draw_figure(name, folder / "summary.csv", folder / "compare", SETTINGS, files)
    with Image.open(files[1]) as image:
        return texts_of(files[0]), image.convert("RGB")


def texts_of(svg: Path) -> str:
    root = ET.parse(svg).getroot()
    return "\n".join(e.text or "" for e in root.iter("{http://www.w3.org/2000/svg}text"))


def joined(text: str) -> str:
    """Leave out line breaks and blanks, for long texts are wrapped."""
    return re.sub(r"\s", "", text)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    heads = (("floor", 0), ("logreg", 0), ("knn", 1), ("knn", 5))
    tiles = make_tiles("odd$set", classes=ODD)
    folder = tmp_path_factory.mktemp("figures")
    return compared(folder, tiles, STORES, heads=heads, fractions=(0.25, 1.0))


@pytest.fixture(scope="module")
def least(tmp_path_factory):
    """One store, one head, one scheme, one fraction, neither floor nor hand-crafted features."""
    options = {"heads": [("logreg", 0)], "schemes": ["image"], "fractions": [1.0]}
    folder = tmp_path_factory.mktemp("least")
    return compared(folder, make_tiles(n_groups=24), [("dino", "replicate", 1.0)], **options)


@pytest.fixture(scope="module")
def stepped(tmp_path_factory):
    """Return a study that is also split by a column of the sheet."""
    schemes = ["group", "image", "plate", "plate+shuffled"]
    options = {"heads": [("floor", 0), ("logreg", 0)], "fractions": [1.0], "schemes": schemes}
    folder = tmp_path_factory.mktemp("stepped")
    return compared(folder, make_tiles("odd$set"), STORES, **options)


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """Return a study of two datasets, each of which is tested by heads of the other."""
    return write_transfers(tmp_path_factory.mktemp("elsewhere"), "odd$set", STORES)


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """Return a study that was also trained with few groups of each class."""
    schemes = ["group", "group+1-per-class", "group+4-per-class"]
    options = {"heads": [("floor", 0), ("logreg", 0)], "fractions": [1.0], "schemes": schemes}
    return compared(tmp_path_factory.mktemp("few"), make_tiles("odd$set"), STORES, **options)


@pytest.mark.parametrize(
    "name", [*OF_EVERY_STUDY, "ladder", "groups_per_class", "transfer", "few_shot"]
)
def test_figure_is_drawn_with_names_as_they_are(study, stepped, few, elsewhere, tmp_path, name):
    own = {"ladder": stepped, "transfer": elsewhere, "few_shot": elsewhere}
    own["groups_per_class"] = few
    text, image = draw(own.get(name, study), name, tmp_path)
    assert LONG[:20] in joined(text)
    assert "odd$set" in text
    assert joined("95 % over groups, for training and for testing") in joined(text)
    assert joined("n = 40 groups") in joined(text)
    assert image.width > 300
    assert image.height > 150
    colours = np.unique(np.asarray(image).reshape(-1, 3), axis=0)
    assert len(colours) > 50


@pytest.mark.parametrize("name", OF_EVERY_STUDY)
def test_figure_is_deterministic(study, tmp_path, name):
    draw(study, name, tmp_path / "one")
    draw(study, name, tmp_path / "two")
    for extension in ("svg", "png"):
        first, second = (tmp_path / d / f"{name}.{extension}" for d in ("one", "two"))
        assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("name", OF_EVERY_STUDY)
def test_figure_of_the_smallest_study(least, tmp_path, name):
    text, _ = draw(least, name, tmp_path)
    if name == "split_gap":
        assert "One split scheme was run" in text
    elif name == "neighbours":
        assert "k-NN was not run" in text
    elif name == "pareto":
        assert "fewer than two stores" in text
    else:
        assert "split by image" in text


@pytest.mark.parametrize("name", ["classes", "confusion"])
def test_odd_class_names_are_shown_literally(study, tmp_path, name):
    text, _ = draw(study, name, tmp_path)
    for label in ODD:
        assert joined(label)[:12] in joined(text)


def test_bars_show_the_summary(study, tmp_path):
    text, _ = draw(study, "strategies", tmp_path)
    summary = pd.read_csv(study / "summary.csv", keep_default_na=False)
    best = summary.query(
        "metric == 'macro_f1' and head == 'logreg' and scheme == 'group' and fraction == 1"
    )
    for mean in best["mean"]:
        assert f"{float(mean):.2f}" in text
    assert "floor: labels alone" in text


def test_random_orders_are_one_bar_and_folds_are_counted_once(tmp_path):
    orders = [("dino", f"map-random-{seed}", 1.0) for seed in (0, 1)]
    stores = [("dino", "map", 1.0), ("dino", "only-er", 2.0), *orders]
    folder = compared(tmp_path, make_tiles(n_groups=24), stores, fractions=[1.0])
    text, _ = draw(folder, "strategies", tmp_path)
    assert text.split("\n").count("map-random (control)") == 1
    assert "er only" in text
    assert joined("means of map-random over its orders") in joined(text)
    assert joined("n = 24 groups, 3 test folds") in joined(text)


@given(st.sets(st.sampled_from([*STRATEGY_COLOURS, "only-a", "only-b", "only-c"])))
def test_strategies_of_one_figure_have_colours_of_their_own(strategies):
    colours = strategy_colours(strategies)
    assert set(colours) == strategies
    assert len(set(colours.values())) == len(strategies)


def test_scaling_counts_training_groups(study, tmp_path):
    text, _ = draw(study, "scaling", tmp_path)
    summary = pd.read_csv(study / "summary.csv", keep_default_na=False)
    for groups in summary.query("scheme == 'group'")["n_train_groups"].unique():
        assert f"{round(groups)}" in text.split("\n")
    assert "Training groups (mean per fold)" in text


def test_gaps_are_printed_with_their_interval(study, tmp_path):
    text, _ = draw(study, "split_gap", tmp_path)
    gaps = pd.read_csv(study / "compare" / "differences.csv").query(
        "kind == 'scheme' and head == 'logreg'"
    )
    for gap in gaps["difference"]:
        assert f"{gap:+.3f}".replace("-", "−") in text


def test_without_predictions_figures_say_so(tmp_path):
    study = write_study(tmp_path, make_tiles(n_groups=24), [("dino", "map", 1.0)], fractions=[1.0])
    outputs = (tmp_path / "compare", tmp_path / "summary.csv", tmp_path / "summary.md")
    compare(study.scores, [], CompareSettings(bootstrap=100), *outputs)
    for name in OF_EVERY_STUDY:
        text, _ = draw(tmp_path, name, tmp_path)
        if name in ("classes", "confusion"):
            assert "There are no predictions" in text


@pytest.mark.parametrize("name", sorted(set(FIGURES) - set(OF_EVERY_STUDY)))
def test_a_figure_of_empty_tables_says_so(name):
    [text] = FIGURES[name].draw(Results(*[pd.DataFrame()] * 7)).texts
    assert text.get_text().startswith("No ")


def test_steps_are_of_the_columns_and_the_groups(stepped, tmp_path):
    text, _ = draw(stepped, "ladder", tmp_path)
    for shown in ("new groups", "new plate", "split by plate", "split by group"):
        assert shown in text.split("\n")
    bars, _ = draw(stepped, "strategies", tmp_path)
    assert "odd$set, split by plate" in bars.split("\n")
    assert "shuffled" not in bars


def test_unknown_names_and_formats_are_refused(study, tmp_path):
    tables = (study / "summary.csv", study / "compare", SETTINGS)
    with pytest.raises(UserError, match='Did you mean "scaling"'):
        draw_figure("scalling", *tables, [tmp_path / "a.svg"])
    with pytest.raises(UserError, match="no known figure format"):
        draw_figure("scaling", *tables, [tmp_path / "a.jpg"])
    with pytest.raises(UserError, match="cannot be read"):
        draw_figure("scaling", tmp_path / "none.csv", *tables[1:], [tmp_path / "a.svg"])
    with pytest.raises(UserError, match=r"differences\.parquet"):
        draw_figure("scaling", tables[0], tmp_path, SETTINGS, [tmp_path / "a.svg"])


@given(st.text(max_size=120), st.integers(4, 40), st.integers(1, 3))
def test_labels_keep_their_text(name, characters, lines):
    label = label_of(name, characters, lines)
    assert label
    assert all(len(line) <= characters for line in label.split("\n")) or label == "(no name)"
    if name.split() and len(" ".join(name.split())) <= characters * lines:
        assert joined(label) == joined(name)


def test_an_output_begins_a_line_where_that_fits():
    store = "vit-mini-mae-hpa-demo@cls-inner / map"
    assert label_of(store) == "vit-mini-mae-hpa-demo\n@cls-inner / map"
    assert label_of("tiny@mean") == "tiny@mean"


def test_text_is_readable_on_any_cell():
    assert text_colour((0, 0, 0, 1)) == "white"
    assert text_colour((1, 1, 1, 1)) == "black"
    assert text_colour((1, 0.9, 0.2, 1)) == "black"


def test_purity_equals_a_plain_search():
    rng = np.random.default_rng(0)
    tiles = make_tiles(n_groups=20)
    group = np.unique(tiles.group, return_inverse=True)[1]
    x = embed(tiles, 1.0, 3).astype(np.float32)
    found = neighbour_purity(x, tiles.true, group, "test")
    nearest = NearestNeighbors(n_neighbors=len(x), metric="cosine").fit(x)
    shares = []
    for i, order in enumerate(nearest.kneighbors(x, return_distance=False)):
        others = [j for j in order if group[j] != group[i]][:10]
        shares.append(np.mean([(tiles.true[i] & tiles.true[j]).any() for j in others]))
    assert found.value == pytest.approx(np.mean(shares), abs=1e-6)
    assert found.low < found.value < found.high
    noise = neighbour_purity(rng.normal(size=x.shape).astype(np.float32), tiles.true, group, "test")
    assert noise.low < noise.chance < noise.high
    assert found.low > found.chance


def test_a_tile_takes_the_colour_of_its_rarest_shown_class():
    n_shown = len(MANY_COLOURS)
    labels = np.zeros((3 * n_shown, n_shown + 2), dtype=bool)
    for j in range(n_shown + 2):
        labels[: 2 * (n_shown + 2 - j), j] = True
    colours = colour_by_class(labels)
    # The last two classes are rarer, but these colours are all there are.
    assert colours[0] == n_shown - 1
    assert colours[2 * (n_shown + 2) - 1] == 0
    assert (colours[2 * (n_shown + 2) :] == -1).all()
    assert len(set(MANY_COLOURS)) == n_shown >= 20


def test_stores_look_alike_in_every_dataset_and_are_listed_best_first():
    ranked = {
        name: pd.DataFrame({"store": stores, "channels": channels})
        for name, stores, channels in (
            ("a", ["x", "hand", "y"], ["map", "features", "map"]),
            ("b", ["y", "z", "x", "hand"], ["map", "map", "map", "features"]),
        )
    }
    results = SimpleNamespace(
        datasets=["a", "b"], schemes=lambda _: ["group"], full=lambda name, _: ranked[name]
    )
    looks = looks_of_study(results)
    one, other = (highlighted(rows, looks) for rows in ranked.values())
    assert [*one] == ["x", "hand", "y"]
    assert [*other] == ["y", "z", "x", "hand"]
    assert {store: other[store] for store in one} == one
    assert len({colour for colour, _ in other.values()}) == 4


def write_embeddings(manifest: Path, values: np.ndarray, ids: list[str]) -> None:
    store = BlockStore.open_or_create(
        store_of(manifest),
        format=EMBEDDINGS_FORMAT,
        array="embeddings",
        fingerprint="0" * 64,
        shape=values.shape,
        dtype="float32",
        block_rows=4096,
        ids=ids,
        attributes={
            "columns": [{"output": "cls", "channel": None, "start": 0, "stop": values.shape[1]}]
        },
    )
    store.write_block(0, values)
    store.finish(manifest)


def write_maps_input(folder: Path, tiles, noises) -> tuple[list[StoreView], Path, DatasetCard]:
    ids = [f"t{i:04}" for i in range(len(tiles.group))]
    labels = [";".join(np.array(tiles.classes)[row]) for row in tiles.true]
    table = pd.DataFrame({"tile_id": ids, "group": tiles.group, "labels": labels, "fov": ids})
    write_parquet(table, folder / "tiles.parquet", {})
    views = []
    for i, noise in enumerate(noises):
        manifest = folder / f"store{i}.json"
        write_embeddings(manifest, embed(tiles, noise, i).astype(np.float32), ids)
        views.append(StoreView(f"back$bone_{i} / map", manifest))
    card = DatasetCard.model_validate(
        {
            "name": "cells",
            "sheet": "samples.tsv",
            "channels": ["protein"],
            "task": tiles.task,
            "labels": tiles.classes,
        }
    )
    return views, folder / "tiles.parquet", card


def test_embedding_maps(tmp_path):
    views, table, card = write_maps_input(tmp_path, make_tiles(n_groups=34), [0.3, 5.0])
    for folder in ("one", "two"):
        outputs = [tmp_path / folder / "map.svg", tmp_path / folder / "map.png"]
        draw_embedding_maps(views, table, card, SETTINGS, outputs)
    text = texts_of(tmp_path / "one" / "map.svg")
    assert "back$bone_0 / map" in text
    purities = [float(p) for p in re.findall(r"purity (\d\.\d\d) \(", text)]
    assert len(purities) == 2
    assert purities[0] > purities[1]
    assert "n = 34 groups" in joined_lines(text)
    for name in ("map.svg", "map.png"):
        first, second = (tmp_path / folder / name for folder in ("one", "two"))
        assert first.read_bytes() == second.read_bytes()


def test_of_many_stores_those_with_the_purest_neighbourhoods_are_mapped(tmp_path, monkeypatch):
    monkeypatch.setattr("transferscope.figures.embedding_maps.MOST_MAPS", 2)
    views, table, card = write_maps_input(tmp_path, make_tiles(n_groups=12), [5.0, 0.3, 9.0, 0.6])
    draw_embedding_maps(views, table, card, SETTINGS, [tmp_path / "map.svg"])
    text = joined_lines(texts_of(tmp_path / "map.svg"))
    assert "2 of 4 stores are shown" in text
    assert [n for n in range(4) if f"back$bone_{n} / map" in text] == [1, 3]


def test_a_map_without_labels_shows_all_tiles_by_group(tmp_path):
    tiles = make_tiles(n_groups=9)
    views, table, card = write_maps_input(tmp_path, tiles, [0.3, 5.0])
    frame = pd.read_parquet(table)
    frame["labels"] = ""
    write_parquet(frame, table, {})
    draw_embedding_maps(views, table, card, SETTINGS, [tmp_path / "map.svg"])
    text = joined_lines(texts_of(tmp_path / "map.svg"))
    assert f"{len(frame)} tiles without labels, coloured by group" in text
    assert "Group (tiles)" in text
    assert "urity" not in text


def test_maps_by_umap(tmp_path):
    pytest.importorskip("umap", reason="the extra `umap` is not installed", exc_type=ImportError)
    views, table, card = write_maps_input(tmp_path, make_tiles(n_groups=20), [0.3])
    settings = SETTINGS.model_copy(update={"map": "umap"})
    first, second = tmp_path / "first.svg", tmp_path / "second.svg"
    for output in (first, second):
        draw_embedding_maps(views, table, card, settings, [output])
    assert "Maps: UMAP of" in joined_lines(texts_of(first))
    assert first.read_bytes() == second.read_bytes()


def test_umap_keeps_clusters_apart():
    pytest.importorskip("umap", reason="the extra `umap` is not installed", exc_type=ImportError)
    rng = np.random.default_rng(0)
    side = np.arange(60) % 2 == 0
    embeddings = (rng.normal(size=(60, 8)) + 20 * side[:, None]).astype(np.float32)
    places = project(embeddings, "umap", "a name")
    assert places.shape == (60, 2)
    apart = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    assert (side[apart.argmin(axis=1)] == side).all()
    # The fewest that a map is drawn of.
    assert project(embeddings[:5], "umap", "a name").shape == (5, 2)


def test_umap_that_is_missing_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(UserError, match=re.escape(install_hint("umap"))):
        project(np.eye(8, dtype=np.float32), "umap")


def joined_lines(text: str) -> str:
    return " ".join(text.split())


def test_maps_of_another_tile_table_are_refused(tmp_path):
    views, _, card = write_maps_input(tmp_path, make_tiles(n_groups=20), [1.0])
    other = pd.DataFrame(
        {"tile_id": list("abcdefgh"), "group": list("aabbccdd"), "labels": ["er"] * 8}
    )
    write_parquet(other, tmp_path / "other.parquet", {})
    with pytest.raises(UserError, match=r"other\.parquet: holds other tiles than"):
        draw_embedding_maps(
            views, tmp_path / "other.parquet", card, SETTINGS, [tmp_path / "map.svg"]
        )


def test_maps_of_hardly_any_labels_say_so(tmp_path):
    views, table, card = write_maps_input(tmp_path, make_tiles(n_groups=20), [1.0])
    frame = pd.read_parquet(table)
    frame.loc[3:, "labels"] = ""
    write_parquet(frame, table, {})
    draw_embedding_maps(views, table, card, SETTINGS, [tmp_path / "map.svg"])
    assert "Too few labelled tiles" in texts_of(tmp_path / "map.svg")


@pytest.mark.parametrize(
    ("knn", "said"),
    [
        ({}, "by cosine distance with one vote"),
        ({"metrics": ["euclidean"], "votes": ["majority"]}, "by Euclidean distance with one vote"),
        ({"metrics": ["cosine", "euclidean"]}, "by cosine distance, unless the panel's title"),
    ],
)
def test_the_caption_of_neighbours_names_the_distance_that_was_used(knn, said):
    path = Path(__file__).parents[2] / "workflow/transferscope/figures/neighbours.rst"
    known = SimpleNamespace(config={"knn": knn})
    assert said in Template(path.read_text(), undefined=StrictUndefined).render(snakemake=known)


@pytest.mark.parametrize("name", [*FIGURES, "embedding_maps", "summary", "workflow"])
def test_captions_render(name):
    """Each figure has a caption; Snakemake fills it by jinja2 and reads it by docutils."""
    workflow = Path(__file__).parents[2] / "workflow"
    (path,) = [*workflow.glob(f"report/{name}.rst"), *workflow.glob(f"*/figures/{name}.rst")]
    known = SimpleNamespace(
        config={"study": "my_study", "compare": {"confidence": 0.9}},
        wildcards=SimpleNamespace(dataset="my_dataset"),
    )
    template = Template(path.read_text(encoding="utf-8"), undefined=StrictUndefined)
    text = template.render(snakemake=known)
    html = publish_parts(text, writer="html", settings_overrides={"halt_level": 2})["html_body"]
    expected = {
        "summary": "10 %",
        "embedding_maps": "my_dataset",
        "workflow": "my_study",
        "grid_surfaces": "equal computation",
    }
    assert expected.get(name, "interval") in html


@pytest.mark.parametrize("scale", ["log", "symlog", "linear"])
def test_no_axis_shows_the_markup_of_powers_of_ten(tmp_path, scale):
    with style():
        figure = new_figure(4, 3)
        axes = figure.subplots()
        axes.set(xscale=scale, yscale=scale, xlim=(0.002, 3e4), ylim=(0.002, 3e4))
        save(figure, [tmp_path / "f.svg"], 60)
    shown = texts_of(tmp_path / "f.svg")
    assert "10000" in shown
    assert not {"$", "\\", "{"} & set(shown)


def test_what_the_solver_of_the_layout_leaves_open_changes_no_byte(tmp_path):
    written = []
    for number, nudge in enumerate((0.0, 1e-12, -1e-12)):
        path = tmp_path / f"{number}.svg"
        with style():
            figure = new_figure(4, 3)
            axes = figure.subplots()
            axes.plot([0, 1], [0, 1])
            figure.draw_without_rendering()
            figure.set_layout_engine("none")
            box = axes.get_position(original=True)
            axes.set_position(box.translated(nudge, nudge), which="original")
            save(figure, [path], 60)
        written.append(path.read_bytes())
    assert b"clip-path" in written[0]
    assert len(set(written)) == 1
