"""Views: another look at a batch, whatever makes it, behind one call.

An augmentation needs no model, an attack does, and a companion brings examples of its own.
`view(model, batch, goal, draws) -> Batch` hides the difference, leaves the model as it was found
and keeps an attack inside its ball and box.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from . import catalog
from .batch import Batch
from .errors import SettingError
from .facts import Facts
from .quantities import text
from .randomness import Draws
from .tasks import Task
from .threat import enforce

# An option of every view beside its own settings: the view that it is made of.
COMMON = {"of": "clean"}


class View(nn.Module, ABC):
    """Whatever makes a view, behind one call; `needs_model` says whether it asks the model."""

    needs_model = False

    def __init__(self, component: nn.Module) -> None:
        super().__init__()
        self.component: Any = component

    @abstractmethod
    def forward(self, model: nn.Module, batch: Batch, goal: Task, draws: Draws) -> Batch:
        """Another look at the batch."""


class Augmented(View):
    """A view made without the model."""

    @torch.no_grad()
    def forward(self, model: nn.Module, batch: Batch, goal: Task, draws: Draws) -> Batch:
        """The augmented batch."""
        return Batch(*self.component(batch.x, batch.y, draws))


class Attacked(View):
    """A view made by an attack on the task; the ball and the box are enforced here."""

    needs_model = True

    def forward(
        self,
        model: nn.Module,
        batch: Batch,
        goal: Task,
        draws: Draws,
        by: Tensor | None = None,
    ) -> Batch:
        """The attacked batch, detached from any graph.

        Into `by` goes, for an attack with `members`, the place of the one that fooled the model.
        """
        attack = self.component
        called, climbed = goal.aimed(model)
        told = {} if by is None else {"by": by}
        with guard(model):
            x_adv = attack(called, batch.x, batch.y, goal=climbed, draws=draws, **told)
        return Batch(enforce(batch.x, x_adv, attack.norm, attack.eps, attack.box), batch.y)


class Accompanied(View):
    """A view of examples that are not those of the batch."""

    @torch.no_grad()
    def forward(self, model: nn.Module, batch: Batch, goal: Task, draws: Draws) -> Batch:
        """A batch of other examples."""
        found: Batch = self.component(len(batch.x), draws)
        return found


@contextmanager
def guard(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode with frozen parameters, and afterwards exactly as it was.

    In evaluation mode batch normalisation neither uses nor moves statistics of attacked batches and
    dropout is off, so an attack climbs the function that will be evaluated (as TRADES does).
    """
    modes = [(module, module.training) for module in model.modules()]
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for module, _ in modes:
        module.training = False
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        for parameter in learning:
            parameter.requires_grad_(True)


def make(config: Mapping[str, Any] | str, facts: Facts) -> View:
    """The view that `config` names; the data's box is used unless the config has one."""
    config = catalog.expand("views", config)
    found = catalog.check("views", config)
    component = catalog.build("views", config, **facts.supplied())
    kind = found.__module__.removeprefix(f"{__package__}.").partition(".")[0]
    wrappers: dict[str, type[View]] = {"attacks": Attacked, "companions": Accompanied}
    return wrappers.get(kind, Augmented)(component)


def judgeable(view: View) -> bool:
    """Whether a model can be judged on the view: examples, targets and their pairing are kept."""
    component = view.component
    changed = getattr(component, "relabels", False) or getattr(component, "mixes", False)
    changed = changed or getattr(component, "copies", 1) > 1
    return not isinstance(view, Accompanied) and not changed


def fits_judgement(view: View) -> None:
    """Raises `SettingError` for a view that a model cannot be judged on."""
    if not judgeable(view):
        name = type(view.component).__name__
        raise SettingError(f"{name} cannot be a benchmark: it changes what is right.")


def fits_boxes(view: View) -> None:
    """Raises `SettingError` for a view that a detector cannot have."""
    name = type(view.component).__name__
    if isinstance(view, Accompanied):
        raise SettingError(f"{name}: a detector cannot have examples of other data")
    if hasattr(view.component, "observe"):
        raise SettingError(f"{name} learns from a loss per image, which a detector does not give")
    if getattr(view.component, "moves", False):
        raise SettingError(f"{name} moves what is in an image, but not the boxes around it")


def fits_task(view: View, task: str) -> None:
    """Raises `SettingError` for a view that needs what the task's models do not give."""
    wanted = getattr(view.component, "tasks", (task,))
    if task not in wanted:
        raise SettingError(
            f"{type(view.component).__name__} is for {' and '.join(wanted)}, the data's task is "
            f"{task}"
        )


def fits_box(view: View, x: Tensor) -> None:
    """Raises `SettingError` for an attack whose box does not hold the inputs x."""
    box = getattr(view.component, "box", None)
    if box is None or not x.numel():
        return
    # As numbers of x's own precision: data may lie exactly on the box.
    low, high = x.new_tensor(box).tolist()
    for found in (x.amin().item(), x.amax().item()):
        if not low <= found <= high:
            raise SettingError(
                f"{type(view.component).__name__}: box {list(box)} does not hold the data, found "
                f"the value {found:g}; leave box out to take the data's own"
            )


def describe(view: View) -> dict[str, Any]:
    """How tables name a view: family, short name and threat model (None where it has none)."""
    component = view.component
    parts = [component.short[0]]
    for setting in component.short[1:]:
        value = getattr(component, setting)
        parts.append(value if isinstance(value, str) else text(float(value)))
    eps = getattr(component, "eps", None)
    return {
        "family": component.family,
        "name": "_".join(parts),
        "severity": getattr(component, "severity", None),
        "norm": getattr(component, "norm", None),
        "eps": None if eps is None else float(f"{float(eps):.7g}"),
        "eps_text": None if eps is None else text(float(eps)),
        "steps": getattr(component, "steps", None),
        "restarts": getattr(component, "restarts", None),
        "black_box": getattr(component, "black_box", False),
        "protocol": getattr(component, "protocol", None),
        "source": "generated" if component.family == "corruption" else None,
    }
