"""What channels show, from the names that microscopes, people and the HPA give them."""

from __future__ import annotations

import re
from collections.abc import Sequence

NUCLEUS = "nucleus"
# Names of stains, whole or as a part of a raw name, and what they show.
STAINS = {
    r"dapi|hoechst(?:33342|33258)?|h33342|dna|nuc(?:leus|lei|lear)?|draq5|dapi405": NUCLEUS,
    r"phalloidin|actin|lifeact": "actin",
    r"tubulin|microtubules?|mt": "microtubules",
    r"mito(?:tracker|chondria)?": "mitochondria",
    r"er|cona|concanavalin|calnexin": "er",
    r"golgi|wga": "golgi",
    r"membrane|wheat": "membrane",
    r"rna|syto(?:14)?": "rna",
    r"lyso(?:tracker|somes?)?": "lysosomes",
    r"protein|poi|antibody": "protein",
    r"bf|brightfield|phase|dic|transmitted": "brightfield",
}
# Names that tell a colour of light, and not what is stained.
DYES = re.compile(
    r"(?:e|s|t)?[gycbr]fp|fitc|tritc|cy\d(?:\.5)?|mcherry|tdtomato|texas ?red|"
    r"(?:alexa|af|alexafluor)?\d{3}|\d{3}nm|rhodamine|mscarlet|venus|ap?g?p",
    re.IGNORECASE,
)
COLOURS = ("red", "green", "blue", "yellow")
HPA = {"red": "microtubules", "green": "protein", "blue": NUCLEUS, "yellow": "er"}
# Wavelengths of lamps, lasers and filters, in nm; other numbers of three digits count something.
LINES = {
    *(345, 358, 375, 385, 395, 405, 408, 442, 458, 461, 473, 475, 477, 485, 488, 491, 509, 514),
    *(525, 532, 535, 543, 546, 555, 559, 561, 568, 585, 587, 592, 594, 617, 633, 635, 638, 642),
    *(645, 647, 655, 665, 685, 785, *range(350, 800, 10)),
}
# Excitation of the dyes of DNA, in nm.
UV = range(340, 421)


def is_known(raw: str) -> bool:
    """Return whether a text is the name of a stain, dye or colour.

    Examples
    --------
    >>> is_known("DAPI"), is_known("488"), is_known("001"), is_known("A01")
    (True, True, False, False)
    """
    text = raw.lower()
    if text in COLOURS or _stain(text):
        return True
    if text.isdigit():
        return int(text) in LINES
    return DYES.fullmatch(text) is not None


def what_they_show(raw: Sequence[str], word: str = "ch") -> dict[str, str]:
    """Return what each raw channel name shows, as a name of a dataset card.

    Parameters
    ----------
    raw
        Raw names, each once.
    word
        What to put before a bare number.

    Returns
    -------
    dict
        Raw name -> a name that is unique. A colour of light that does not say what is stained
        keeps its name.

    Examples
    --------
    >>> what_they_show(["DAPI", "GFP", "RFP"])
    {'DAPI': 'nucleus', 'GFP': 'gfp', 'RFP': 'rfp'}
    >>> what_they_show(["blue", "green", "red", "yellow"])["green"]
    'protein'
    """
    lowered = {name.lower() for name in raw}
    hpa = lowered == set(COLOURS)
    found: dict[str, str] = {}
    for name in raw:
        text = name.lower()
        shown = HPA[text] if hpa else _stain(text)
        if shown is None and (number := re.search(r"(?<!\d)\d{3}(?!\d)", text)):
            shown = NUCLEUS if int(number[0]) in UV else None
        if shown is None or shown in found.values():
            plain = re.sub(r"[^a-z0-9]+", "-", text).strip("-") or "channel"
            shown = f"{word}{plain}" if plain.isdigit() else plain
        while shown in found.values():
            shown += "-2"
        found[name] = shown
    return found


def _stain(text: str) -> str | None:
    """Return what a text names as a stain, whole or as one of its words."""
    words = [text, *re.split(r"[^a-z0-9]+", text)]
    for word in words:
        for pattern, shown in STAINS.items():
            if re.fullmatch(pattern, word):
                return shown
    return None
