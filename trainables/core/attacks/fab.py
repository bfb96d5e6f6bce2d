"""The fast adaptive boundary attack, in its targeted form (arXiv 1907.02044)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..quantities import flag, number, whole
from ..randomness import Draws, Stream
from ..tasks import Goal
from ..threat import Box, box_of, norm_name, per_example, size
from ._hyperplane import to_hyperplane
from ._logits import label, logits_of, runners_up
from ._minimal import within

Model = Callable[[Tensor], Tensor]


class FAB(nn.Module):
    """Smallest perturbations by steps onto linearised class boundaries (FAB-T, arXiv 1907.02044).

    For each of the `targets` classes t that come next to the target y at x (at most classes - 1):
    from x_0 = x, every step linearises z_t - z_y at x_i, projects x_i and x onto that hyperplane
    within the box (d_i and d are the two moves, exact for norm linf, l2 and l1) and goes to

        x_{i+1} = (1 - a) (x_i + eta d_i) + a (x + eta d)
        a = min(|d_i| / (|d_i| + |d|), alpha_max)

    clipped to the box. An adversarial x_{i+1}, of whatever wrong class, is kept if it is the
    nearest so far, and the search goes on from x + beta (x_{i+1} - x). There are `steps` steps and
    `restarts` runs per class; runs after the first start from a random point at distance eps / 2.

    The nearest adversarial example found is returned if its perturbation's norm is at most eps,
    else x itself, so a table at eps is right. With `minimise: false` an example is done as soon as
    one is found inside the ball, which saves most of the cost (the first code goes on to the end of
    the class's run, with the same robust accuracy); `minimise: true` searches all classes and runs
    for the smallest norm. Examples that are misclassified at x stay as they are.

    eps is at least 0, in the units of the input ("8/255" is accepted); alpha_max in [0, 1], eta
    from 1, beta in (0, 1]. `seed` is used when no `draws` are given. Mixed targets [b, c] count as
    their largest class. Raises `SettingError` for settings out of these ranges, and for a model
    whose outputs are not logits [b, c] of at least 2 classes.
    """

    family = "adversarial"
    short = ("fab", "norm", "eps", "steps")
    norms = ("linf", "l2", "l1")
    tasks = ("classification",)
    minimal = True
    thorough = True
    stops = True

    def __init__(
        self,
        *,
        norm: str = "linf",
        eps: float | str = "8/255",
        steps: int = 100,
        targets: int = 9,
        restarts: int = 1,
        minimise: bool = False,
        alpha_max: float = 0.1,
        eta: float = 1.05,
        beta: float = 0.9,
        seed: int = 0,
        box: Box = (0.0, 1.0),
    ) -> None:
        super().__init__()
        self.norm = norm_name(norm, self.norms)
        self.box = box_of(box)
        self.steps = whole("steps", steps, low=1)
        self.targets = whole("targets", targets, low=1)
        self.restarts = whole("restarts", restarts, low=1)
        self.minimise = flag("minimise", minimise)
        self.seed = whole("seed", seed)
        settings = {
            "eps": number("eps", eps, low=0),
            "alpha_max": number("alpha_max", alpha_max, low=0, high=1),
            "eta": number("eta", eta, low=1),
            "beta": number("beta", beta, low=0, high=1, above=True),
        }
        for name, value in settings.items():
            self.register_buffer(name, torch.tensor(value), persistent=False)
        self.eps: Tensor
        self.alpha_max: Tensor
        self.eta: Tensor
        self.beta: Tensor

    @torch.no_grad()
    def forward(
        self,
        model: Model,
        x: Tensor,
        y: Tensor,
        *,
        goal: Goal | None = None,
        draws: Draws | None = None,
    ) -> Tensor:
        """Adversarial examples of x [b, ...] in ball and box; the boundary is the only goal."""
        draws = draws or Stream(self.seed, x.device)
        y = label(y)
        prediction = logits_of(model, x)
        targets = runners_up(prediction, y, self.targets)
        found = x.clone()
        least = size(x, self.norm).new_full((len(x),), torch.inf)
        least[prediction.argmax(1) != y] = 0
        for column in range(targets.shape[1]):
            for run in range(self.restarts):
                rows = (least > (0 if self.minimise else self.eps)).nonzero().squeeze(1)
                if len(rows) == 0:
                    break
                clean = x[rows]
                start = self._start(clean, draws.rows(rows)) if run else clean
                again, norms = self._run(model, clean, y[rows], targets[rows, column], start)
                nearer = norms < least[rows]
                found[rows[nearer]] = again[nearer]
                least[rows[nearer]] = norms[nearer]
        return within(x, found, self.norm, self.eps)

    def _start(self, x: Tensor, draws: Draws) -> Tensor:
        """A random point at half the radius: uniform in the cube and scaled, or a direction."""
        raw = 2 * draws.uniform(x) - 1 if self.norm == "linf" else draws.normal(x)
        length = size(raw, self.norm).clamp_min(1e-12)
        return self._in_box(x + raw * per_example(self.eps / 2 / length, x))

    def _in_box(self, x: Tensor) -> Tensor:
        return x if self.box is None else x.clamp(*self.box)

    def _run(
        self, model: Model, x: Tensor, y: Tensor, target: Tensor, start: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The nearest adversarial examples [m, ...] of one run and their norms, inf for none."""
        best, least = x.clone(), size(x, self.norm).new_full((len(x),), torch.inf)
        rows = torch.arange(len(x), device=x.device)
        at = start
        for _ in range(self.steps):
            at = self._step(model, x[rows], at, y[rows], target[rows])
            norms = size(at - x[rows], self.norm)
            wrong = model(at).argmax(1) != y[rows]
            nearer = wrong & (norms < least[rows])
            best[rows[nearer]] = at[nearer]
            least[rows[nearer]] = norms[nearer]
            back = x[rows] + self.beta * (at - x[rows])
            at = torch.where(per_example(wrong, at), back, at)
            if not self.minimise:
                still = least[rows] > self.eps
                rows, at = rows[still], at[still]
                if len(rows) == 0:
                    break
        return best, least

    def _step(self, model: Model, x: Tensor, at: Tensor, y: Tensor, target: Tensor) -> Tensor:
        gap, slope = _boundary(model, at, y, target)
        # The hyperplane where the linearised gap is 0, as seen from the iterate and from x.
        from_x = gap - (slope * (at - x)).flatten(1).sum(1)
        moves = to_hyperplane(
            torch.cat([at, x]),
            torch.cat([slope, slope]),
            -torch.cat([gap, from_x]),
            self.norm,
            self.box,
        )
        here, clean = size(moves, self.norm).clamp_min(1e-8).chunk(2)
        share = per_example(torch.minimum(here / (here + clean), self.alpha_max), x)
        move, move_clean = moves.chunk(2)
        mixed = (1 - share) * (at + self.eta * move) + share * (x + self.eta * move_clean)
        return self._in_box(mixed)


def _boundary(model: Model, x: Tensor, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """z_target - z_y [m] and its gradient with respect to x."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        found = model(x)
        gap = (found.gather(1, target[:, None]) - found.gather(1, y[:, None])).squeeze(1)
        (slope,) = torch.autograd.grad(gap, x, torch.ones_like(gap))
    return gap.detach(), slope
