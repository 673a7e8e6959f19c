"""Sheets of small pictures: each at its place, and no more bytes than given."""

import base64

import imagecodecs
import numpy as np

from transferscope.report.sprites import FORMS, PER_ROW, Sprites


def decoded(uri):
    return imagecodecs.jpeg8_decode(base64.b64decode(uri.partition(",")[2]))


def test_each_picture_is_at_its_place():
    grey = np.arange(0, 250, 10, dtype=np.uint8)
    size = FORMS[0][0]
    pictures = np.broadcast_to(grey[:, None, None, None], (len(grey), size, size, 3))
    found = Sprites(pictures).within(10**6)
    assert found["size"] == size
    [sheet] = map(decoded, found["sheets"])
    for number, value in enumerate(grey):
        line, place = divmod(number, PER_ROW)
        middle = sheet[line * size + size // 2, place * size + size // 2]
        assert np.abs(middle.astype(int) - int(value)).max() <= 3


def test_pictures_get_smaller_until_they_fit():
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 255, (300, FORMS[0][0], FORMS[0][0], 3), np.uint8)
    sizes = []
    for most in (2_000_000, 400_000, 100_000):
        found = Sprites(pictures).within(most)
        assert sum(len(decoded(s)) > 0 for s in found["sheets"]) == 2
        assert sum(len(base64.b64decode(s.partition(",")[2])) for s in found["sheets"]) <= most
        sizes.append(found["size"])
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > sizes[-1]
    assert Sprites(pictures).within(1000) is None
