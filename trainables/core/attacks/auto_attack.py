"""AutoAttack: an ensemble of attacks without a setting to tune (arXiv 2003.01690)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .. import catalog
from ..quantities import number, one_of, text, whole
from ..randomness import Draws, Stream
from ..tasks import Classification, Goal
from ..threat import Box, box_of, enforce, norm_name
from ._logits import logits_of

_VERSIONS = ("standard", "plus", "rand", "fast")


class AutoAttack(nn.Module):
    """Several strong attacks in turn, each on what the ones before left (arXiv 2003.01690).

    The model's verdict on the clean input comes first; every attack runs from the clean input, and
    only on examples that are still right. `version` "standard" is, for norms linf and l2,

        apgd-ce   APGD on cross-entropy, 100 steps
        apgd-t    APGD on the targeted logit ratio, 9 classes, 100 steps
        fab-t     FAB for 9 classes, 100 steps
        square    Square, 5000 queries

    and for l1 (arXiv 2103.01208) the same with 5 restarts of apgd-ce, 5 classes of apgd-t, and both
    with `large_eps`. "plus" is apgd-ce and apgd-dlr with 5 restarts, FAB with 5 restarts, Square
    and apgd-t; FAB runs in its targeted form only, which the published version has beside the
    other, with 1 restart. "rand", for models that answer at random, is apgd-ce and apgd-dlr with
    gradients of 20 calls. "fast" is ours and no published version: apgd-ce, apgd-t and 500 queries
    of Square, a quarter of the cost for an example that stands; the last one tells where gradients
    mislead. With fewer than 10 classes all others are aimed at, and with fewer than 4
    the margin stands for the ratio (see `APGD`).

    `norm` is that of all attacks. Returned are the first adversarial inputs, in ball and box, and x
    itself of examples that are wrong anyway or that every attack left right. All attacks draw from
    the stream of the example, one after another; `seed` is used when no `draws` are given.
    `budget`, above 0 and at most 1, is a factor of all steps and queries for a cheaper look; only
    with 1 does `protocol` name a version, and tables name every version but the standard one, and
    the budget. eps is at least 0, in the units of the input ("8/255" is accepted). Raises
    `SettingError` for settings out of these ranges, and what its attacks raise for a model whose
    outputs are not logits.
    """

    family = "adversarial"
    short: tuple[str, ...] = ("autoattack", "norm", "eps", "version", "budget")
    norms = ("linf", "l2", "l1")
    tasks = ("classification",)
    stops = True
    thorough = True
    steps = None
    restarts = None

    def __init__(
        self,
        *,
        norm: str = "linf",
        eps: float | str = "8/255",
        version: str = "standard",
        budget: float | str = 1.0,
        seed: int = 0,
        box: Box = (0.0, 1.0),
    ) -> None:
        super().__init__()
        self.norm = norm_name(norm, self.norms)
        self.box = box_of(box)
        self.version = one_of("version", version, _VERSIONS)
        self.budget = number("budget", budget, low=0, high=1, above=True)
        self.seed = whole("seed", seed)
        radius = number("eps", eps, low=0)
        self.register_buffer("eps", torch.tensor(radius), persistent=False)
        self.eps: Tensor
        # The published settings have a short name.
        told = 5 if self.budget < 1 else 4 if self.version != "standard" else 3
        self.short = type(self).short[:told]
        threat = {"norm": self.norm, "eps": radius, "box": self.box}
        chosen = _members(self.version, self.norm, self.budget)
        self.attacks = nn.ModuleDict(
            {name: catalog.build("attacks", config | threat) for name, config in chosen.items()}
        )

    def members(self) -> list[tuple[str, nn.Module]]:
        """The attacks with their names in the order in which they run, to run them one by one."""
        return list(self.attacks.items())

    @property
    def protocol(self) -> str:
        """What is run: "aa-standard" only for all of the standard version."""
        if self.budget < 1:
            return f"{text(self.budget)} of the steps and queries of AutoAttack {self.version}"
        if self.version == "plus":
            return "aa-plus with targeted FAB alone, 5 restarts"
        if self.version == "fast":
            return "aa-fast: APGD-CE, APGD-T and 500 queries of Square"
        return f"aa-{self.version}"

    @torch.no_grad()
    def forward(
        self,
        model: Callable[[Tensor], Tensor],
        x: Tensor,
        y: Tensor,
        *,
        goal: Goal | None = None,
        draws: Draws | None = None,
        by: Tensor | None = None,
    ) -> Tensor:
        """Adversarial examples of x [b, ...] where one was found, else x.

        Into `by`, int64 [b] if given, goes the place among `members` of the one that found it.
        """
        goal = goal or Classification()
        draws = draws or Stream(self.seed, x.device)
        found = x.clone()
        left = (~goal.fooled(logits_of(model, x), y)).nonzero().squeeze(1)
        for place, attack in enumerate(self.attacks.values()):
            if len(left) == 0:
                break
            x_adv = attack(model, x[left], y[left], goal=goal, draws=draws.rows(left))
            x_adv = enforce(x[left], x_adv, self.norm, self.eps, self.box)
            over = goal.fooled(model(x_adv), y[left])
            found[left[over]] = x_adv[over]
            if by is not None:
                by[left[over]] = place
            left = left[~over]
        return found


def _members(version: str, norm: str, budget: float) -> dict[str, dict[str, Any]]:
    """The configs of a version's attacks by name, without the threat model."""
    steps = {"steps": max(round(100 * budget), 1)}
    ce = {"name": "APGD", "loss": "ce"} | steps
    dlr = {"name": "APGD", "loss": "dlr"} | steps
    targeted = {"name": "APGD", "loss": "dlr-targeted", "targets": 9} | steps
    fab = {"name": "FAB", "targets": 9, "restarts": 1} | steps
    square = {"name": "Square", "queries": max(round(5000 * budget), 1)}
    if version == "rand":
        return {"apgd-ce": ce | {"samples": 20}, "apgd-dlr": dlr | {"samples": 20}}
    if version == "fast":
        short = square | {"queries": max(round(500 * budget), 1)}
        return {"apgd-ce": ce, "apgd-t": targeted, "square": short}
    if version == "plus":
        several = {"restarts": 5}
        return {
            "apgd-ce": ce | several,
            "apgd-dlr": dlr | several,
            "fab-t": fab | several,
            "square": square,
            "apgd-t": targeted,
        }
    if norm == "l1":
        wide = {"large_eps": steps["steps"] >= 5}
        ce, targeted = ce | wide | {"restarts": 5}, targeted | wide | {"targets": 5}
    return {"apgd-ce": ce, "apgd-t": targeted, "fab-t": fab, "square": square}
