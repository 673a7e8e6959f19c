"""The stores that an embedding command fills in the same pass are told apart, all at once."""

import pytest

from transferscope.commands.embed import siblings_of
from transferscope.errors import UserError


def test_siblings_are_strategies_and_manifests(tmp_path):
    own, other = tmp_path / "replicate.json", tmp_path / "m=ap.json"
    assert siblings_of([f"map={other}"], "replicate", own) == {"map": other}
    assert siblings_of(None, "replicate", own) == {}


def test_all_that_is_wrong_is_said_at_once(tmp_path):
    own = tmp_path / "replicate.json"
    given = [
        "map",
        f"adapt={own}",
        f"replicate={tmp_path / 'other.json'}",
        f"mapp={tmp_path / 'mapp.json'}",
        f"map={tmp_path / 'map.zarr'}",
        f"map={tmp_path / 'missing.json' / 'deeper.json'}",
        f"agnostic={tmp_path}",
    ]
    (tmp_path / "missing.json").write_text("a file")
    with pytest.raises(UserError) as caught:
        siblings_of(given, "replicate", own)
    assert len(caught.value.problems) == len(given)
    assert all(problem.fix for problem in caught.value.problems)
