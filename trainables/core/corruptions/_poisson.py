"""Poisson numbers from a view's own random numbers."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from ..randomness import Draws

# Four to a step of whole numbers of 255: what is left over stays small, and costs less.
STEPS = 4 * 255
FULL = 1e-12


def poisson(x: Tensor, scale: float, draws: Draws) -> Tensor:
    """Poisson numbers of mean scale * x, shaped as x in [0, 1]; scale at most about 1000.

    A mean is split into that of the next lower k/1020 and what is left, since the sum of two
    independent Poisson numbers is one of the summed mean. The first has one of 1021 means and comes
    from a table by Walker's alias method (a cell keeps its chance or gives its alias: one look at
    the table), the second, below scale / 1020, by adding up its probabilities until they exceed a
    uniform number. That is exact to the precision of the numbers, and no step depends on values.
    """
    # k/1020 in float32 may lie just below the whole number.
    level = (x * STEPS).add_(4e-4).floor_().clamp_(0, STEPS)
    table = _tables(scale, x.device)
    cells = table.shape[1]
    # A uniform number decides twice, on the cell and on its alias: float32 has too few digits.
    fraction = draws.uniform(x.new_empty(x.shape, dtype=torch.float64)).mul_(cells)
    cell = fraction.floor()
    fraction.sub_(cell)
    cell = cell.to(torch.int32)
    index = (level.to(torch.int32) * cells).add_(cell)
    chance = table.flatten().index_select(0, index.flatten()).view_as(fraction)
    alias = chance.floor()
    chance.sub_(alias)
    count = torch.where(fraction < chance, cell, alias.to(torch.int32)).to(x.dtype)
    rest = x.sub(level, alpha=1 / STEPS).clamp_(min=0).mul_(scale)
    return count.add_(_small(rest, scale / STEPS, draws))


def _small(mean: Tensor, most: float, draws: Draws) -> Tensor:
    """Poisson numbers of means in [0, most], where `most` is a few at most."""
    uniform = draws.uniform(mean)
    power = torch.exp(-mean)
    below, count, passed = power.clone(), torch.zeros_like(mean), torch.empty_like(mean)
    # A uniform number of float32 knows no smaller steps than 2^-24.
    for n in range(1, _reach(most, 2.0**-25) + 1):
        # As numbers and not as truth values, which cost five times as much to add up.
        count.add_(torch.ge(uniform, below, out=passed))
        power.mul_(mean)
        below.add_(power, alpha=1 / math.factorial(n))
    return count


def _reach(mean: float, share: float) -> int:
    """The number that a Poisson number exceeds with a probability of less than `share`."""
    chance = below = math.exp(-mean)
    count = 0
    while 1 - below > share:
        count += 1
        chance *= mean / count
        below += chance
    return count


@lru_cache(maxsize=16)
def _tables(scale: float, device: torch.device) -> Tensor:
    """Alias tables [1021, cells] of the means scale * k/1020, k = 0 ... 1020."""
    mean = torch.arange(STEPS + 1, dtype=torch.float64).unsqueeze(1) * (scale / STEPS)
    # Ten deviations: less than 2^-53 of the probability lies beyond.
    cells = math.ceil(scale + 10 * math.sqrt(scale)) + 20
    count = torch.arange(cells, dtype=torch.float64)
    chance = torch.exp(torch.xlogy(count, mean) - mean - torch.lgamma(count + 1))
    chance = chance / chance.sum(1, keepdim=True) * cells
    rows = [_alias(one) for one in chance.tolist()]
    return torch.tensor(rows, dtype=torch.float64, device=device)


def _alias(chance: list[float]) -> list[float]:
    """One alias table of cells whose mean chance is 1 (which is changed): the number of a cell's
    alias plus the chance, below 1, of keeping the cell itself."""
    entry = [float(one) for one in range(len(chance))]
    # What is nearly full counts as full: with its alias as whole part it could round up to 1.
    poor = [i for i, one in enumerate(chance) if one < 1 - FULL]
    rich = [i for i, one in enumerate(chance) if one > 1]
    while poor and rich:
        low, high = poor.pop(), rich[-1]
        entry[low] = high + chance[low]
        chance[high] -= 1 - chance[low]
        if chance[high] <= 1:
            rich.pop()
            if chance[high] < 1 - FULL:
                poor.append(high)
    return entry
