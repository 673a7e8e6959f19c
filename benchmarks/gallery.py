"""Shrink figures of the finished demo study into the pictures of docs/gallery.md and the tutorial.

Run after `make demo`, when its results or the look of a figure have changed.
"""

from pathlib import Path

from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[1]
FIGURES = REPOSITORY / "results/demo/figures"
PICTURES = REPOSITORY / "docs/images/gallery"
# Picture -> figure, width in px, and the share of its height that is shown, from the top.
SHOWN = {
    "scaling": ("scaling", 1000, 1.0),
    "neighbours": ("neighbours", 1000, 1.0),
    "classes": ("classes", 1000, 1.0),
    "confusion": ("confusion", 1000, 0.475),
    "split_gap": ("split_gap", 1000, 1.0),
    "embedding_map": ("embedding_maps/opencell-demo", 1100, 1.0),
    "training": ("training/vit-mini-mae-hpa-demo", 800, 1.0),
    "contact_sheet": ("contact_sheets/opencell-demo/06_mitochondria", 600, 0.525),
}


def main(figures: Path = FIGURES) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    for picture, (figure, width, share) in SHOWN.items():
        with Image.open(figures / f"{figure}.png") as whole:
            shown = whole.convert("RGB").crop((0, 0, whole.width, round(whole.height * share)))
        shown.thumbnail((width, shown.height), Image.Resampling.LANCZOS)
        few_colours = shown.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        few_colours.save(PICTURES / f"{picture}.png", optimize=True)


if __name__ == "__main__":
    main()
