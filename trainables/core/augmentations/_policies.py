"""What a set of augmentation policies is, how it is applied, and what is said of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import torch
from torch import Tensor, distributed, nn

from ..errors import SettingError
from ..quantities import whole
from ..randomness import Draws, derive
from ._controller import PER_SUBPOLICY
from ._images import place
from ._operations import NAMES, apply_to_bytes, fits, from_bytes, to_bytes, value_of

EPOCH = "epoch"


class _Stretch(NamedTuple):
    """Policies that were in force for some steps of an epoch, still on the device.

    `chosen` [m, s, 4] are the policies, `losses` [m] the sums over the steps, `scores` [2, m] their
    log-probabilities and relative entropies.
    """

    update: int
    steps: int
    chosen: Tensor
    losses: Tensor
    scores: Tensor


class Policies(nn.Module, ABC):
    """M policies of s sub-policies of two operations, and what has been observed of each.

    A view of M copies: x [b, c, h, w] becomes [M b, c, h, w], rows m b ... (m + 1) b being those
    of policy m, and y [b, ...] is repeated M times. For every row one of the policy's sub-policies
    is drawn, all equally likely; both of its operations are applied in order, without a
    probability, and those that have a sign get it with 1/2.

    The policies are state: making the view only reads them. `observe` adds up the losses of the
    rows on the device; new policies are due after `lasts` steps or, where that is 0, with the
    epoch. What waits for the device: each of the two operations, once, for which images take which;
    an update may; `figures` and `records`, of the epoch that `end_epoch` closed, do.
    Where torch.distributed runs, the losses that new policies come from are the mean over all
    processes and the policies are those of the first one; records are of the rows that a process
    observed, which in a training of several processes are all.
    """

    family = "augmentation"
    moves = True
    # Whether it is known how likely the policies were.
    scored = True
    # Whether an epoch's end brings other policies although their steps are not over.
    by_epoch = False

    def __init__(self, *, policies: int, subpolicies: int, operations: int) -> None:
        super().__init__()
        self.operations = operations
        # SamplePairing looks at the rest of the batch.
        self.mixes = operations == len(NAMES)
        self.policies = policies
        self.subpolicies = subpolicies
        self.copies = policies
        self.updates = 0
        # Steps since the policies came into force, and how many of them in earlier epochs.
        self.steps = 0
        self.earlier = 0
        chosen = torch.zeros(policies, subpolicies, PER_SUBPOLICY, dtype=torch.int64)
        self.register_buffer("chosen", chosen)
        for name in ("total", "before"):
            self.register_buffer(name, torch.zeros(policies, dtype=torch.float64))
        self.register_buffer("scores", torch.zeros(2, policies))
        self.chosen: Tensor
        self.total: Tensor
        self.before: Tensor
        self.scores: Tensor
        self._now: list[_Stretch] = []
        self._past: list[_Stretch] = []

    @property
    @abstractmethod
    def lasts(self) -> int:
        """For how many steps the policies are in force; 0 for the rest of the epoch."""

    @abstractmethod
    def _next(self, losses: Tensor, epoch_over: bool) -> Tensor:
        """The next policies [m, s, 4]; `losses` [m] are means, NaN if no step was observed."""

    @abstractmethod
    def _scores(self) -> Tensor:
        """Log-probability and relative entropy of the policies in force, [2, m]."""

    def forward(self, x: Tensor, y: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """x [m b, c, h, w], policy by policy, and y [m b, ...]."""
        fits(type(self).__name__, x)
        m, b = self.copies, len(x)
        # float32 whatever x is: bfloat16 is too coarse.
        drawn = draws.uniform(torch.empty(b, m, 3, device=x.device))
        drawn = drawn.transpose(0, 1).reshape(m * b, 3)
        policy = torch.arange(m, device=x.device).repeat_interleave(b)
        chosen = self.chosen[policy, place(drawn[:, 0], self.subpolicies)]
        signs = torch.where(drawn[:, 1:] < 0.5, -1.0, 1.0)
        rows = draws.rows(torch.arange(b, device=x.device).repeat(m))
        seen = to_bytes(x).repeat(m, 1, 1, 1)
        for which in range(2):
            operation, magnitude = chosen[:, 2 * which], chosen[:, 2 * which + 1]
            value = value_of(operation, magnitude, signs[:, which])
            seen = apply_to_bytes(seen, operation, value, rows)
        return from_bytes(seen, x), y.repeat(m, *[1] * (y.dim() - 1))

    @torch.no_grad()
    def observe(self, losses: Tensor) -> None:
        """The task's loss of every row [m b] in a training step."""
        self.total = self.total + losses.double().view(self.copies, -1).mean(1)
        self.steps += 1
        if self.steps == self.lasts:
            self._turn(epoch_over=False)

    @torch.no_grad()
    def end_epoch(self) -> None:
        """Close the epoch, and bring new policies if they are due with it."""
        if self.by_epoch or not self.lasts:
            self._turn(epoch_over=True)
        else:
            self._close()
            self.before, self.earlier = self.total.clone(), self.steps
        self._past, self._now = self._now, []

    def figures(self) -> dict[str, float]:
        """Of the last epoch, means over its updates.

        `entropy` is the mean entropy of the choices over the largest possible (0: the controller
        has collapsed, 1: uniform), `top_operation` the share of the most frequent operation in the
        policies, `magnitude` the mean of 0 ... 9, and `spread` the deviation of the policies' mean
        losses.
        """
        if not self._past:
            return {}
        found: dict[str, list[Tensor]] = {}
        for one in self._past:
            operations, magnitudes = one.chosen[..., 0::2], one.chosen[..., 1::2]
            each = (
                operations.flatten() == torch.arange(len(NAMES), device=operations.device)[:, None]
            )
            if self.scored:
                found.setdefault("entropy", []).append(one.scores[1].double().mean())
            found.setdefault("top_operation", []).append(each.double().mean(1).max())
            found.setdefault("magnitude", []).append(magnitudes.double().mean())
            if one.steps:
                spread = (one.losses / one.steps).std(correction=int(self.copies > 1))
                found.setdefault("spread", []).append(spread)
        values = torch.stack([torch.stack(each).mean() for each in found.values()]).tolist()
        return dict(zip(found, values, strict=True))

    def records(self) -> list[dict[str, Any]]:
        """A row for each policy and update of the last epoch.

        `update` counts from 0, `steps` says for how many steps of the epoch the policy was in
        force, `loss` is its mean over these (None if there were none) and `log_probability` how
        likely the policy was when it was written (None if not known).
        """
        rows = []
        for one in self._past:
            means = (one.losses / max(one.steps, 1)).tolist()
            likely = one.scores[0].tolist()
            for policy, choices in enumerate(one.chosen.flatten(1).tolist()):
                rows.append(
                    {
                        "update": one.update,
                        "steps": one.steps,
                        "policy": policy,
                        "operations": [NAMES[place] for place in choices[0::2]],
                        "magnitudes": choices[1::2],
                        "loss": means[policy] if one.steps else None,
                        "log_probability": likely[policy] if self.scored else None,
                    }
                )
        return rows

    def get_extra_state(self) -> Tensor:
        """Counts of updates and steps, for the checkpoint."""
        return torch.tensor([self.updates, self.steps, self.earlier])

    def set_extra_state(self, state: Tensor) -> None:
        """Go on from a checkpoint."""
        self.updates, self.steps, self.earlier = state.tolist()[:3]

    def _adopt(self, chosen: Tensor) -> None:
        self.chosen = chosen
        self.scores = self._scores()

    def _close(self) -> None:
        """Note what the policies in force did in this epoch."""
        steps = self.steps - self.earlier
        if steps or not self._now:
            part = self.total - self.before
            self._now.append(_Stretch(self.updates, steps, self.chosen, part, self.scores))

    def _turn(self, *, epoch_over: bool) -> None:
        """The end of the policies in force and the beginning of others."""
        self._close()
        self.updates += 1
        self._adopt(_first(self._next(_mean(self.total, self.steps), epoch_over)))
        self.total, self.before = torch.zeros_like(self.total), torch.zeros_like(self.before)
        self.steps = self.earlier = 0


def counted(operations: int) -> int:
    """How many of the operations are used; raises `SettingError` unless it is 15 or 16."""
    found = whole("operations", operations)
    if found not in (len(NAMES) - 1, len(NAMES)):
        raise SettingError(
            f"operations must be {len(NAMES) - 1}, or {len(NAMES)} with {NAMES[-1]}, found "
            f"{operations!r}"
        )
    return found


def lasting(update_every: int | str) -> int:
    """For how many steps policies are in force; 0 for "epoch"."""
    if update_every == EPOCH:
        return 0
    try:
        return whole("update_every", update_every, low=1)
    except SettingError:
        raise SettingError(
            f'update_every must be "{EPOCH}" or a number of steps, at least 1, found '
            f"{update_every!r}"
        ) from None


def uniform(seed: int, update: int, like: Tensor) -> Tensor:
    """The numbers of U[0, 1) that an update's policies come from, shaped as `like`, float64.

    Drawn on the CPU, so that they are the same on every device.
    """
    generator = torch.Generator().manual_seed(derive(seed, "policies", update))
    return torch.rand(like.shape, generator=generator, dtype=torch.float64).to(like.device)


def _parallel() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def _mean(total: Tensor, steps: int) -> Tensor:
    """Mean losses over the steps of all processes; NaN where there were none."""
    both = torch.cat([total, total.new_full((1,), steps)])
    if _parallel():
        distributed.all_reduce(both)
    return both[:-1] / both[-1]


def _first(chosen: Tensor) -> Tensor:
    """The policies of the first process."""
    if _parallel():
        chosen = chosen.clone()
        distributed.broadcast(chosen, 0)
    return chosen
