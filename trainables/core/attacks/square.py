"""Random search in windows of the input, without gradients (arXiv 1912.00049)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..errors import SettingError
from ..quantities import number, one_of, whole
from ..randomness import Draws, Stream
from ..tasks import Classification, Goal
from ..threat import Box, box_of, norm_name, per_example
from ._logits import label, logits_of, margin
from ._squares import Bumps, Patches

Model = Callable[[Tensor], Tensor]

LAST = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
BLOCK = 200  # queries that random numbers are drawn for at once


class Square(nn.Module):
    """A black-box random search that changes one window at a time (arXiv 1912.00049).

    A query is kept if it lowers the margin z_y - max_{i != y} z_i or fools the model; an example
    leaves as soon as it is fooled, and one that is misclassified at x stays as it is. There are at
    most `queries` model calls per example and run (the first is the start's) and `restarts` runs;
    what is not fooled comes back where its margin was lowest, which may be x itself.

    The window covers a share p of an image [b, c, h, w] (a square of side round(sqrt(p h w)), at
    most h and w) or of a series [b, c, t] (a stretch of round(p t)). p is `p_init`, halved after
    queries 10, 50, 200, 500, 1000, 2000, 4000, 6000 and 8000; schedule "rescaled" counts queries as
    if there were 10000 of them, "fixed" as they are, which is what AutoAttack does.

    What a window does depends on the `norm`:

    - linf: the window takes x + eps or x - eps, one sign for each channel. It starts from stripes,
      a sign for each column (in a series: moment) of each channel.
    - l2 (and l1, arXiv 2103.01208): a bump of two halves of opposite signs is added to the first of
      two windows, which gets the length of what both had and of what the box had cut off; the
      second one is cleared. Sides are odd, at least 3. It starts from a grid of such bumps. What
      leaves the ball is scaled (l2) or projected onto ball and box at once (l1).

    The first code shares window and orientation among the examples of a batch and never uses the
    last place where a window fits; here every example has its own, from all places where it fits,
    so that no example's result depends on the others. eps is at least 0, in the units of the input
    ("8/255" is accepted), p_init in (0, 1]. `seed` is used when no `draws` are given. Mixed targets
    [b, c] count as their largest class. Where the goal is not that of classification, the margin is
    minus its loss. Raises `SettingError` for settings out of these ranges, inputs of other forms,
    and classifiers whose outputs are not logits [b, c] of at least 2 classes.
    """

    family = "adversarial"
    short = ("square", "norm", "eps", "queries")
    norms = ("linf", "l2", "l1")
    black_box = True
    thorough = True
    minimal = False
    stops = True

    def __init__(
        self,
        *,
        norm: str = "linf",
        eps: float | str = "8/255",
        queries: int = 5000,
        p_init: float = 0.8,
        schedule: str = "fixed",
        restarts: int = 1,
        seed: int = 0,
        box: Box = (0.0, 1.0),
    ) -> None:
        super().__init__()
        self.norm = norm_name(norm, self.norms)
        self.box = box_of(box)
        self.queries = whole("queries", queries, low=1)
        self.p_init = number("p_init", p_init, low=0, high=1, above=True)
        self.schedule = one_of("schedule", schedule, ("fixed", "rescaled"))
        self.restarts = whole("restarts", restarts, low=1)
        self.seed = whole("seed", seed)
        self.register_buffer("eps", torch.tensor(number("eps", eps, low=0)), persistent=False)
        self.eps: Tensor

    @property
    def steps(self) -> int:
        """As tables count them: queries."""
        return self.queries

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
        """Adversarial examples of x [b, c, h, w], [b, c, t] or [b, t] in ball and box."""
        if x.dim() not in (2, 3, 4):
            raise SettingError(
                "Square needs images (c, h, w) or series (c, t), found inputs of shape "
                f"{tuple(x.shape[1:])}"
            )
        draws = draws or Stream(self.seed, x.device)
        search = _Search(model, goal or Classification(), x.shape[1:])
        picture = _picture(x)
        found = picture.clone()
        value, fooled = search.judge(picture, y)
        for _ in range(self.restarts):
            rows = (~fooled).nonzero().squeeze(1)
            if len(rows) == 0:
                break
            again, lower, over = self._run(search, picture[rows], y[rows], draws.rows(rows))
            better = over | (lower < value[rows])
            found[rows[better]] = again[better]
            value[rows[better]] = lower[better]
            fooled[rows] = over
        return found.reshape(x.shape)

    def share(self, query: int) -> float:
        """The window's share p of the input at a query, counted from 0, the start."""
        if self.schedule == "rescaled":
            query = query * 10000 // self.queries
        return self.p_init * 0.5 ** sum(query > last for last in LAST)

    def _run(
        self, search: _Search, x: Tensor, y: Tensor, draws: Draws
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Per example of one run: the point [m, c, h, w], its margin, whether it fools."""
        moves = self._moves()
        at = moves.start(x, draws)
        value, fooled = search.judge(at, y)
        found, values, over = at.clone(), value.clone(), fooled.clone()
        rows = torch.arange(len(x), device=x.device)
        numbers = x
        for query in range(1, self.queries):
            if fooled.any():
                found[rows], values[rows], over[rows] = at, value, fooled
                still = ~fooled
                rows, x, y, at = rows[still], x[still], y[still], at[still]
                value, fooled, numbers = value[still], fooled[still], numbers[still]
                if len(rows) == 0:
                    break
            step = (query - 1) % BLOCK
            if step == 0:
                block = min(BLOCK, self.queries - query)
                like = x.new_empty(len(x), block, moves.numbers(x.shape[1]))
                numbers = draws.rows(rows).uniform(like)
            tried = moves.move(x, at, self.share(query), numbers[:, step])
            lower, fooled = search.judge(tried, y)
            better = fooled | (lower < value)
            at = torch.where(per_example(better, at), tried, at)
            value = torch.where(better, lower, value)
        found[rows], values[rows], over[rows] = at, value, fooled
        return found, values, over

    def _moves(self) -> Patches | Bumps:
        if self.norm == "linf":
            return Patches(self.eps, self.box)
        return Bumps(self.norm, self.eps, self.box)


class _Search:
    """What a query tells: the margin that is to fall, and whether the model is fooled."""

    def __init__(self, model: Model, goal: Goal, shape: torch.Size) -> None:
        self.model = model
        self.goal = goal
        self.shape = shape

    def judge(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The margin [b] and the verdict, bool [b], on pictures."""
        x = x.reshape(len(x), *self.shape)
        if isinstance(self.goal, Classification):
            prediction = logits_of(self.model, x)
            return margin(prediction, label(y)), self.goal.fooled(prediction, y)
        prediction = self.model(x)
        return -self.goal.loss(prediction, y), self.goal.fooled(prediction, y)


def _picture(x: Tensor) -> Tensor:
    """A series [b, c, t] as a picture of height 1, a vector [b, t] as a series of one channel."""
    if x.dim() == 3:
        return x.unsqueeze(2)
    return x if x.dim() == 4 else x[:, None, None]
