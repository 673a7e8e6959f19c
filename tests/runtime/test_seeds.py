from hypothesis import given
from hypothesis import strategies as st

from transferscope.runtime.seeds import derive_rng, derive_seed

names = st.lists(st.one_of(st.integers(), st.text()), min_size=1, max_size=4)


@given(names)
def test_a_seed_depends_on_the_names_alone(parts):
    assert derive_seed(*parts) == derive_seed(*parts)
    assert 0 <= derive_seed(*parts) < 2**63


def test_boundaries_between_names_count():
    assert derive_seed("ab", "c") != derive_seed("a", "bc")


def test_generators_of_different_names_differ():
    assert derive_rng(0, "a").random() != derive_rng(0, "b").random()
