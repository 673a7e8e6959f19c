import os

from factories import DATASET_CARD, write_raw
from transferscope.cards import DatasetCard
from transferscope.config.model import validate
from transferscope.raw.raw_files import raw_digest
from transferscope.raw.sheets import read_sheet

CARD = validate(DATASET_CARD, DatasetCard, "cells.yaml")


def test_the_digest_changes_when_a_file_is_replaced(tmp_path):
    sheet = read_sheet(write_raw(tmp_path, n_groups=3, fovs_per_group=1), CARD)
    before = raw_digest(sheet)
    assert raw_digest(sheet) == before
    os.utime(tmp_path / "P00_0.tif", ns=(1, 1))
    assert raw_digest(sheet) != before
