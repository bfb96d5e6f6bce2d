"""Several objectives at once: non-dominated ranks, crowding, hypervolume; NumPy alone.

Values are an array [n, m]: n trials, m objectives, each to be made large ("max") or small ("min").
A row with a value that is not finite dominates nothing, comes after all others and adds no volume,
so that a diverged trial can neither win nor change what the others are worth.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def ranks(values: ArrayLike, modes: Sequence[str]) -> NDArray[np.int64]:
    """The non-dominated rank of every row: 0 is the Pareto front, 1 the front without it, ...

    One row dominates another when it is nowhere worse and somewhere better; equal rows have equal
    ranks. Rows that are not finite have the rank after the last. Raises `ValueError` for values
    that are no array [n, len(modes)] and for a mode other than max and min.
    """
    gains = _gains(values, modes)
    sound = np.isfinite(gains).all(axis=1)
    found = np.zeros(len(gains), dtype=np.int64)
    left, rank = np.flatnonzero(sound), 0
    while len(left):
        front = _undominated(gains[left])
        found[left[front]] = rank
        left, rank = left[~front], rank + 1
    found[~sound] = rank
    return found


def crowding(values: ArrayLike, modes: Sequence[str]) -> Floats:
    """How alone every row stands among those of its rank: the crowding distance of NSGA-II.

    For each objective the distance between the two neighbours over the range within the rank,
    summed (Deb et al., IEEE Trans. Evol. Comput. 6, 2002); infinite at both ends of an objective,
    0 for rows that are not finite. Equal rows count as one, so that the order of rows has no say.
    """
    gains = _gains(values, modes)
    rank = ranks(values, modes)
    found = np.zeros(len(gains))
    sound = np.isfinite(gains).all(axis=1)
    for one in np.unique(rank[sound]):
        members = np.flatnonzero(sound & (rank == one))
        distinct, place = np.unique(gains[members], axis=0, return_inverse=True)
        found[members] = _distances(distinct)[place.reshape(-1)]
    return found


def best(values: ArrayLike, modes: Sequence[str], top: int) -> list[int]:
    """The `top` best rows by their places, the best first: by rank, then the less crowded one.

    Ties go to the earlier row. Rows that are not finite are never among them, so there may be
    fewer than `top`. With one objective this is the order of its values.
    """
    gains = _gains(values, modes)
    rank, room = ranks(values, modes), crowding(values, modes)
    sound = np.flatnonzero(np.isfinite(gains).all(axis=1)).tolist()
    return sorted(sound, key=lambda place: (rank[place], -room[place], place))[:top]


def worst(values: ArrayLike, modes: Sequence[str]) -> Floats:
    """The worst finite value of each objective, [m]: the usual reference; NaN where there is none.

    Seen from it a row that is itself the worst in some objective adds no volume.
    """
    gains = _gains(values, modes)
    low = [column[np.isfinite(column)].min(initial=np.inf) for column in gains.T]
    found = np.where(np.isinf(low), np.nan, low)
    return np.asarray(found * _signs(modes))


def hypervolume(values: ArrayLike, reference: ArrayLike, modes: Sequence[str]) -> float:
    """The volume that the rows dominate and `reference` [m] bounds, in units of the objectives.

    Exact for any m, by slices along the last objective, each a volume of one dimension less; for
    two objectives that is one sort. Some hundred rows are quick up to m = 4. Rows that are not
    better than the reference in every objective add nothing. Raises `ValueError` for a reference
    that is not m finite values.
    """
    gains = _gains(values, modes)
    origin = np.asarray(reference, dtype=np.float64)
    if origin.shape != (len(modes),) or not np.isfinite(origin).all():
        raise ValueError(f"reference must be {len(modes)} finite values, found {reference!r}")
    heights = gains - origin * _signs(modes)
    inside = np.isfinite(heights).all(axis=1) & (heights > 0).all(axis=1)
    return _volume(heights[inside])


def over_time(values: ArrayLike, reference: ArrayLike, modes: Sequence[str]) -> Floats:
    """The hypervolume of the first 1, 2, ..., n rows, [n]: it never falls."""
    rows = _matrix(values, len(modes))
    gains = _gains(rows, modes)
    found = np.zeros(len(rows))
    # Only the front so far is kept: what it dominates adds nothing later either.
    front = np.empty((0, len(modes)))
    for place, row in enumerate(rows):
        found[place] = found[place - 1] if place else 0.0
        mine = gains[place]
        held = front * _signs(modes)
        if not np.isfinite(mine).all() or (held >= mine).all(axis=1).any():
            continue
        front = np.vstack([front[~(held <= mine).all(axis=1)], row])
        found[place] = hypervolume(front, reference, modes)
    return found


def _volume(heights: Floats) -> float:
    """The volume of the union of boxes from the origin to each row of positive heights [n, m]."""
    if not len(heights):
        return 0.0
    m = heights.shape[1]
    if m == 1:
        return float(heights.max())
    if m == 2:
        across = heights[np.argsort(-heights[:, 0], kind="stable")]
        steps = across[:, 0] - np.append(across[1:, 0], 0.0)
        return float(steps @ np.maximum.accumulate(across[:, 1]))
    heights = heights[_undominated(heights)]
    heights = heights[np.argsort(-heights[:, -1], kind="stable")]
    levels = np.append(heights[:, -1], 0.0)
    return sum(
        _volume(heights[: place + 1, :-1]) * float(levels[place] - levels[place + 1])
        for place in range(len(heights))
        if levels[place] > levels[place + 1]
    )


def _undominated(gains: Floats) -> NDArray[np.bool_]:
    """Which rows of finite gains [n, m] no other row dominates."""
    # In descending order only an earlier row can dominate a later one.
    order = np.lexsort(-gains.T[::-1])
    found = np.zeros(len(gains), dtype=bool)
    front = np.empty((0, gains.shape[1]))
    for place in order:
        mine = gains[place]
        above = front[(front >= mine).all(axis=1)]
        if not (above > mine).any():
            found[place] = True
            front = np.vstack([front, mine])
    return found


def _distances(distinct: Floats) -> Floats:
    """Crowding distances of rows that differ, sorted as `np.unique` sorts them."""
    found = np.zeros(len(distinct))
    for column in distinct.T:
        order = np.argsort(column, kind="stable")
        found[order[[0, -1]]] = np.inf
        span = column[order[-1]] - column[order[0]]
        if span > 0 and len(order) > 2:
            found[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / span
    return found


def _gains(values: ArrayLike, modes: Sequence[str]) -> Floats:
    """The values with the signs of objectives to be made small turned: more is better."""
    return np.asarray(_matrix(values, len(modes)) * _signs(modes))


def _signs(modes: Sequence[str]) -> Floats:
    if not modes or any(one not in ("max", "min") for one in modes):
        raise ValueError(f"modes must be max or min, one for each objective, found {modes!r}")
    return np.asarray([1.0 if one == "max" else -1.0 for one in modes])


def _matrix(values: ArrayLike, m: int) -> Floats:
    found = np.asarray(values, dtype=np.float64)
    if found.size == 0:
        return found.reshape(0, m)
    if found.ndim != 2 or found.shape[1] != m:
        raise ValueError(f"values must be an array [n, {m}], found one of shape {found.shape}")
    return found
