from __future__ import annotations

import numpy as np
import pytest

from analysis.smooth import LEAST, smooth
from analysis.style import letters_on, near, thinned


def test_a_constant_stays_constant() -> None:
    found = smooth([float(one) for one in range(10)], [0.3] * 10, width=1.0)
    assert found is not None
    assert found.shape == (4, 60)
    np.testing.assert_allclose(found[1:], 0.3)
    assert (found[0][0], found[0][-1]) == (0, 9)


def test_the_middle_of_a_symmetric_line_is_its_mean_and_the_curve_is_the_kernels() -> None:
    x = np.arange(9.0)
    found = smooth(list(x), list(2 * x), width=1.5, places=9)
    assert found is not None
    assert found[1][4] == pytest.approx(8)
    weights = np.exp(-0.5 * ((x - 2) / 1.5) ** 2)
    assert found[1][2] == pytest.approx((weights * 2 * x).sum() / weights.sum())
    assert (found[2] <= found[1] + 1e-9).all()
    assert (found[3] >= found[1] - 1e-9).all()


def test_nothing_leaves_the_values_that_there_are() -> None:
    x = [0.0, 1, 2, 3, 4, 5, 6, 20]
    y = [0.9, 0.1, 0.9, 0.95, 0.9, 0.92, 0.9, 0.91]
    found = smooth(x, y, width=0.3)
    assert found is not None
    assert np.nanmin(found[1:]) >= 0.1 - 1e-12
    assert np.nanmax(found[1:]) <= 0.95 + 1e-12


def test_the_band_covers_a_smooth_truth() -> None:
    draws = np.random.default_rng(1)
    hits = []
    for seed in range(60):
        x = draws.uniform(0, 1, 60)
        y = 0.2 * x + draws.normal(0, 0.05, 60)
        found = smooth(list(x), list(y), width=0.08, seed=seed)
        assert found is not None
        at = np.searchsorted(found[0], 0.5)
        hits.append(found[2][at] <= 0.2 * found[0][at] <= found[3][at])
    # A percentile bootstrap of a dozen effective points is a little too narrow.
    assert 0.85 <= np.mean(hits) <= 1.0


def test_few_points_give_no_curve_and_a_seed_gives_one_band() -> None:
    x = [float(one) for one in range(LEAST)]
    assert smooth(x[:-1], x[:-1], width=1.0) is None
    assert smooth([0.0, 1, 2] * 4, [0.5] * 12, width=1.0) is None
    first, second = smooth(x, x, width=1.0), smooth(x, x, width=1.0)
    np.testing.assert_array_equal(first, second)
    with pytest.raises(ValueError, match="width must be above 0, found 0"):
        smooth(x, x, width=0)


def test_poor_values_far_off_are_cut_off_an_axis() -> None:
    low, high = near([0.9, 0.91, 0.92, 0.93, 0.1], lower=False) or (0, 0)
    # The median .91 less a tenth of it, and 6 % of room.
    room = 0.06 * (0.93 - 0.819)
    assert (low, high) == pytest.approx((0.819 - room, 0.93 + room))
    assert near([0.9, 0.91, 0.92], lower=False) is None
    assert near([0.9, 0.91, 0.92], [0.2], lower=False) is not None
    low, high = near([1.0, 1.1, 1.2, 50.0], lower=True) or (0, 0)
    assert low < 1.0
    assert 1.2 < high < 50
    assert near([], lower=False) is None


def test_thinning_keeps_both_ends() -> None:
    assert thinned(4, 10) == [0, 1, 2, 3]
    assert thinned(1001, 5) == [0, 250, 500, 750, 1000]
    assert len(set(thinned(1000, 300))) == 300
    with pytest.raises(ValueError, match="most must be at least 2, found 1"):
        thinned(5, 1)


def test_letters_stand_out() -> None:
    assert letters_on((1, 1, 1)) == "black"
    assert letters_on((0, 0, 0)) == "white"
    assert letters_on((1, 0.9, 0.2)) == "black"
    assert letters_on((0, 0.13, 0.3)) == "white"
