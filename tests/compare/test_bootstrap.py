import numpy as np

from transferscope.compare.bootstrap import draw_weights


def test_draws_depend_on_names_and_keep_the_number_of_groups():
    weights = draw_weights(12, 50, 0, "cells")
    assert weights.shape == (51, 12)
    assert (weights[0] == 1).all()
    assert (weights.sum(axis=1) == 12).all()
    np.testing.assert_array_equal(weights, draw_weights(12, 50, 0, "cells"))
    assert (weights != draw_weights(12, 50, 0, "fields")).any()
    assert (weights != draw_weights(12, 50, 1, "cells")).any()
