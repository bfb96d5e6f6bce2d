"""Auto-PGD (arXiv 2003.01690; for l1 arXiv 2103.01208)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..errors import SettingError
from ..quantities import flag, number, one_of, whole
from ..randomness import Draws, Stream
from ..tasks import Classification, Goal
from ..threat import Box, box_of, norm_name
from ._climb import Climbed, Hill, climb
from ._dlr import ratio, ratio_to
from ._halving import Halving
from ._logits import label, logits_of, runners_up
from ._sparse import Sparse

Model = Callable[[Tensor], Tensor]


class APGD(nn.Module):
    """Projected gradient ascent that adapts its own step size (APGD, arXiv 2003.01690, 2103.01208).

    With `norm` linf or l2, from a random point at distance eps: with g the gradient's sign or
    direction, a = 1 in the first step and 3/4 after it, and P the projection onto the ball and then
    the box,

        z = P(x_k + s g),  x_{k+1} = P(x_k + a (z - x_k) + (1 - a) (x_k - x_{k-1})).

    The step size s is 2 eps at first. At checkpoints (of 100 steps: 22, 41, 57, 70, 80, 87, 93, 99)
    it is halved, and the climb goes on from the best point so far, where the loss rose in at most
    `rho` (from 0 to 1) of the window's steps, or where s was not halved at the checkpoint before
    and the highest loss is still the one of then. As in the published code, not the paper, the
    first step counts as a rise if the loss is above 0 after it.

    With l1: steps of length s along the signs of the largest values of the gradient, a fifth of all
    at first, and exact projections onto the ball within the box; every 4 % of the steps s goes back
    to eps, from the best point, where that changes fewer than 95 % as many values as at the last
    checkpoint, and else is divided by 1.5, not below eps / 10; the next steps change 2/3 as many
    values as the best point. With `large_eps` (l1, 5 steps or more) 30 % of the steps climb in a
    ball of 3 eps, 30 % of 2 eps and the rest of eps, each from the best point before, projected.

    `loss` says what is climbed: "ce", the task's loss (cross-entropy); "dlr", the difference of
    logits ratio; "dlr-targeted", its targeted form for each of the `targets` classes that come next
    to y at x (at most classes - 1), where any misclassification counts. The ratios need 3 and 4
    classes; with fewer, the margin max_{i != y} z_i - z_y or z_t - z_y stands for them. "ce" fades
    where logits are large; the others do not depend on a common factor. Of a model that answers at
    random, gradients are means over `samples` calls, and the last call is its verdict.

    An example that fools the model at any iterate, the start included, stays at the first such
    iterate and leaves the batch, also for further classes and `restarts` (of each class); whom it
    fools is the same as if it had gone on. Of all others the iterate of the highest loss counts.
    `seed` is used when no `draws` are given; mixed targets [b, c] count as their largest class.
    `protocol` says in a line what is run. eps is at least 0, in the units of the input ("8/255" is
    accepted). Raises `SettingError` for settings out of these ranges, and for a model whose outputs
    are not logits [b, c] of at least 2 classes where the loss needs them.
    """

    family = "adversarial"
    short = ("apgd", "norm", "eps", "loss")
    norms = ("linf", "l2", "l1")
    stops = True

    def __init__(
        self,
        *,
        norm: str = "linf",
        eps: float | str = "8/255",
        loss: str = "ce",
        steps: int = 100,
        restarts: int = 1,
        targets: int = 9,
        samples: int = 1,
        large_eps: bool = False,
        rho: float = 0.75,
        seed: int = 0,
        box: Box = (0.0, 1.0),
    ) -> None:
        super().__init__()
        self.norm = norm_name(norm, self.norms)
        self.box = box_of(box)
        self.loss = one_of("loss", loss, ("ce", "dlr", "dlr-targeted"))
        self.steps = whole("steps", steps, low=1)
        self.restarts = whole("restarts", restarts, low=1)
        self.targets = whole("targets", targets, low=1)
        self.samples = whole("samples", samples, low=1)
        self.large_eps = flag("large_eps", large_eps)
        self.seed = whole("seed", seed)
        if self.large_eps and self.norm != "l1":
            raise SettingError(f"large_eps is for norm l1, found norm {self.norm}")
        if self.large_eps and self.steps < 5:
            raise SettingError(f"large_eps needs at least 5 steps, found steps={self.steps}")
        for name, value in (
            ("eps", number("eps", eps, low=0)),
            ("rho", number("rho", rho, low=0, high=1)),
        ):
            self.register_buffer(name, torch.tensor(value), persistent=False)
        self.eps: Tensor
        self.rho: Tensor
        if self.loss != "ce":
            self.tasks = ("classification",)

    @property
    def protocol(self) -> str:
        """What is run, for the notes beside a table."""
        what = {
            "ce": "apgd-ce: the task's loss",
            "dlr": "apgd-dlr: difference of logits ratio (2 classes: margin)",
            "dlr-targeted": f"apgd-t: targeted difference of logits ratio (2 or 3 classes: margin) "
            f"to min({self.targets}, classes - 1) classes",
        }[self.loss]
        radii = ", radii 3, 2 and 1 eps" if self.large_eps else ""
        means = f", gradients of {self.samples} calls" if self.samples > 1 else ""
        return f"{what}, {self.restarts} x {self.steps} steps{radii}{means}"

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
        """Adversarial examples of x [b, ...] in ball and box."""
        goal = goal or Classification()
        draws = draws or Stream(self.seed, x.device)
        found, highest = x.clone(), x.new_full((len(x),), -torch.inf)
        left = torch.arange(len(x), device=x.device)
        for target in self._targets(model, x, y):
            for _ in range(self.restarts):
                if len(left) == 0:
                    return found
                run = self._run(model, x[left], y[left], target[left], goal, draws.rows(left))
                better = run.fooled | (run.loss > highest[left])
                rows = left[better]
                found[rows], highest[rows] = run.point[better], run.loss[better]
                left = left[~run.fooled]
        return found

    def _targets(self, model: Model, x: Tensor, y: Tensor) -> list[Tensor]:
        """The classes to aim at, each [b]; where the loss asks for none, one that says nothing."""
        if self.loss != "dlr-targeted":
            return [torch.zeros(len(x), dtype=torch.int64, device=x.device)]
        return list(runners_up(logits_of(model, x), label(y), self.targets).unbind(1))

    def _run(
        self, model: Model, x: Tensor, y: Tensor, target: Tensor, goal: Goal, draws: Draws
    ) -> Climbed:
        hill = self._hill(model, goal)
        if self.norm != "l1":
            halving = Halving(self.norm, self.eps, self.box, self.rho, self.steps)
            start = halving.start(x, draws)
            return climb(hill, halving, x, y, target, start, steps=self.steps, stop=True)
        phases = _phases(self.steps) if self.large_eps else ((1, self.steps),)
        point = None
        for radius, steps in phases:
            fresh = not self.large_eps
            sparse = Sparse(radius * self.eps, self.box, steps, fresh=fresh)
            start = sparse.start(x, draws) if point is None else sparse.inside(x, point)
            # What fools the model in a larger ball is no success yet.
            run = climb(hill, sparse, x, y, target, start, steps=steps, stop=radius == 1)
            point = run.point
        return run

    def _hill(self, model: Model, goal: Goal) -> Hill:
        def task(prediction: Tensor, y: Tensor, target: Tensor) -> Tensor:
            return goal.loss(prediction, y)

        def untargeted(prediction: Tensor, y: Tensor, target: Tensor) -> Tensor:
            return ratio(prediction, label(y))

        def targeted(prediction: Tensor, y: Tensor, target: Tensor) -> Tensor:
            return ratio_to(prediction, label(y), target)

        climbed = {"ce": task, "dlr": untargeted, "dlr-targeted": targeted}[self.loss]
        called = model if self.loss == "ce" else lambda at: logits_of(model, at)
        return Hill(called, climbed, goal.fooled, self.samples)


def _phases(steps: int) -> tuple[tuple[int, int], ...]:
    """Radius in units of eps and number of steps of each phase."""
    first = -(-3 * steps // 10)
    return ((3, first), (2, first), (1, steps - 2 * first))
