"""The one training step: views -> outputs -> losses -> weights -> gradient."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .batch import Batch
from .errors import SettingError, nearest
from .gradients import Gradients, cosines_of, norms_of
from .network import Detector, Network
from .parallel import Seen, Team
from .randomness import Draws
from .tasks import Task
from .views import fits_box
from .weighing import Weighing

# The batch as it is, or as `training/augment` left it.
CLEAN = "clean"


class Step(NamedTuple):
    """What a step saw, or several at once, on the device: [k] each, or [steps, k].

    `losses` are without coefficients; `gramian` is that of the losses times their coefficients, if
    the weighter asked for it. All else follows from these, when somebody reads it.
    """

    losses: Tensor
    weights: Tensor
    coefficients: Tensor
    gramian: Tensor | None

    @property
    def weighted(self) -> Tensor:
        """Weight times coefficient times loss."""
        return self.weights * self.coefficients * self.losses

    @property
    def norms(self) -> Tensor | None:
        """The gradients' norms, if they were told apart."""
        return None if self.gramian is None else norms_of(self.gramian)

    @property
    def cosines(self) -> Tensor | None:
        """The gradients' cosines to the main loss's, if they were told apart."""
        return None if self.gramian is None else cosines_of(self.gramian, norms_of(self.gramian))


class Objective(nn.Module):
    """Views, losses and a weighter: everything that says what a model is trained for.

    `views` are keyed by label, "clean" among them; `made_of` names for each the view that it is
    made of. `losses` are keyed by label, the main loss first; `coefficients` stand in front of
    them. `augment` are views that each batch goes through before all else. Only the views that
    some loss needs are made. Raises `SettingError` for a loss or view that names an unknown view,
    views that are made of each other, and a view that nothing reads.
    """

    def __init__(
        self,
        task: Task,
        views: Mapping[str, nn.Module],
        losses: Mapping[str, Any],
        coefficients: Mapping[str, float],
        weighing: Weighing,
        forward: str = "joint",
        made_of: Mapping[str, str] | None = None,
        augment: Sequence[nn.Module] = (),
    ) -> None:
        super().__init__()
        self.task = task
        self.labels = tuple(losses)
        self.forward_mode = forward
        self.sources = {label: (made_of or {}).get(label, CLEAN) for label in views}
        read = _read(losses, views)
        # In the order in which they can be made, and only those that are needed.
        needed: dict[str, None] = {}
        for label in views:
            if label in read:
                _need(label, self.sources, needed, ())
        unread = [label for label in views if label not in needed and label != CLEAN]
        if unread:
            raise SettingError(
                f"views/{unread[0]} is read by no loss; name it in a loss or leave it out."
            )
        self.made = tuple(label for label in needed if label != CLEAN)
        self.seen = tuple(label for label in views if label in read)
        self.differentiated = {
            label
            for loss in losses.values()
            if getattr(loss, "input_gradient", False)
            for label in loss.reads
        }
        self.augment = nn.ModuleList(augment)
        self.views = nn.ModuleList(views[label] for label in self.made)
        # Augmentations that learn from how the model did on them.
        self.learners: dict[str, Any] = {
            label: views[label].component
            for label in self.made
            if hasattr(getattr(views[label], "component", None), "observe")
        }
        # Where each of them sees how the model did: on itself, or on a view that is made of it.
        self.watched = {label: self._watched(label) for label in self.learners}
        self.losses = nn.ModuleList(losses.values())
        self.private = [list(loss.parameters()) for loss in self.losses]
        self.paced = [loss for loss in self.losses if hasattr(loss, "progress")]
        self.weighing = weighing
        self.register_buffer(
            "coefficients",
            torch.tensor([coefficients[label] for label in self.labels]),
            persistent=False,
        )
        self.coefficients: Tensor
        # Losses that a process computes of its own rows alone, as a share of the whole.
        self.shared = [
            task.boxed or getattr(loss, "input_gradient", False) for loss in losses.values()
        ]
        self.team = Team()
        self._last: dict[str, Batch] = {}

    def try_views(self, batch: Batch, draws: Draws) -> None:
        """Make the views that need no model, for nothing but their errors, named by label."""
        made: dict[str, Batch] = {CLEAN: batch}
        named = [("training/augment", view, CLEAN, CLEAN) for view in self.augment]
        named += [
            (f"views/{label}", view, self.sources[label], label)
            for label, view in zip(self.made, self.views, strict=True)
        ]
        for path, view, source, label in named:
            try:
                # An attack keeps its input's form: what is made of it can be tried on that.
                made[label] = (
                    made[source] if view.needs_model else view(None, made[source], None, draws)
                )
            except SettingError as error:
                raise SettingError(f"{path}: {error}") from None

    def try_boxes(self, x: Tensor) -> None:
        """Raises `SettingError` for an attack on the batch itself whose box does not hold x."""
        for label, view in zip(self.made, self.views, strict=True):
            if self.sources[label] == CLEAN:
                try:
                    fits_box(view, x)  # type: ignore[arg-type]
                except SettingError as error:
                    raise SettingError(f"views/{label}: {error}") from None

    def at(self, progress: float) -> None:
        """Tell the losses that want to know which share of the training is done."""
        for loss in self.paced:
            loss.progress.fill_(progress)  # type: ignore[operator]

    def backward(self, model: Network | Detector, batch: Batch, draws: Draws) -> Step:
        """Leave the gradient of the weighed losses in `.grad`; no step is taken."""
        seen = self._views(model, batch, draws)
        outputs = self.team.outputs(self.task, model, seen, self.forward_mode)
        raw = self._raw(outputs)
        gradients = Gradients(
            raw,
            model.parameters(),
            self.private if any(self.private) else (),
            self.weighing.parameters_of(model),  # type: ignore[arg-type]
            self.coefficients,
            self.team,
        )
        values = self.team.total([loss.detach() for loss in raw], self.shared)
        weights = self.weighing(self.coefficients * values, gradients)
        gradients.descend(weights)
        for label, learner in self.learners.items():
            found = outputs.whole[self.watched[label]]
            learner.observe(self.task.loss(found.logits.detach(), found.y))
        if self.weighing.looks_back:
            self._last = seen
        measured = gradients.gramian if gradients.measured else None
        return Step(values, weights, self.coefficients, measured)

    def observe(self, model: Network | Detector) -> None:
        """After the optimizer's step: show the weighter, if it asks, the same batch's losses."""
        if not self.weighing.looks_back:
            return
        # Only a loss that differentiates by its input needs a graph.
        with _kept(model), torch.set_grad_enabled(bool(self.differentiated)):
            outputs = self.team.outputs(self.task, model, self._last, self.forward_mode)
            raw = self._raw(outputs)
            values = self.team.total([loss.detach() for loss in raw], self.shared)
        self._last = {}
        self.weighing.observe(self.coefficients * values)

    def end_epoch(self) -> None:
        """Tell the weighter and the views that learn that an epoch is over."""
        self.weighing.end_epoch()
        for learner in self.learners.values():
            learner.end_epoch()

    def figures(self) -> dict[str, float]:
        """What the views that learn say of the epoch that is over, by <label>/<figure>."""
        return {
            f"{label}/{name}": value
            for label, learner in self.learners.items()
            for name, value in learner.figures().items()
        }

    def records(self) -> list[dict[str, Any]]:
        """The rows in which views that learn record the epoch that is over."""
        return [
            {"view": label} | row
            for label, learner in self.learners.items()
            for row in learner.records()
        ]

    def _watched(self, label: str) -> str:
        """A view that some loss reads: `label` itself, or one that is made of it."""
        for one in (label, *self.seen):
            source = one
            while source not in (label, CLEAN):
                source = self.sources[source]
            if source == label and one in self.seen:
                return one
        raise SettingError(
            f"views/{label} learns from the losses on it, but no loss reads it or a view of it."
        )

    def _raw(self, outputs: Seen) -> list[Tensor]:
        """Every loss; of those that a process computes of its own rows, its share."""
        return [
            loss(outputs.own) * outputs.share[loss.reads[0]]  # type: ignore[index]
            if shared and self.team.size > 1
            else loss(outputs.whole)
            for loss, shared in zip(self.losses, self.shared, strict=True)
        ]

    def _views(self, model: nn.Module, batch: Batch, draws: Draws) -> dict[str, Batch]:
        for augment in self.augment:
            batch = augment(model, batch, self.task, draws)
        made = {CLEAN: batch}
        for label, view in zip(self.made, self.views, strict=True):
            made[label] = self.team.make(view, model, made[self.sources[label]], self.task, draws)
        return {
            label: Batch(made[label].x.detach().requires_grad_(), made[label].y)
            if label in self.differentiated
            else made[label]
            for label in self.seen
        }


def _read(losses: Mapping[str, Any], views: Mapping[str, nn.Module]) -> set[str]:
    """The labels of the views that losses read; raises `SettingError` for an unknown one."""
    read = set()
    for label, loss in losses.items():
        for view in loss.reads:
            if not isinstance(view, str) or view not in views:
                hint = nearest(str(view), views)
                raise SettingError(f"losses/{label} reads an unknown view {view!r}.{hint}")
            read.add(view)
    return read


def _need(
    label: str, sources: Mapping[str, str], needed: dict[str, None], path: tuple[str, ...]
) -> None:
    """Append to `needed` what `label` is made of, and then itself."""
    if label in path:
        circle = " -> ".join([*path, label])
        raise SettingError(f"views/{label}/of: views cannot be made of each other, found {circle}")
    source = sources[label]
    if label != CLEAN:
        if source not in sources:
            hint = nearest(str(source), sources)
            raise SettingError(f"views/{label}/of names an unknown view {source!r}.{hint}")
        _need(source, sources, needed, (*path, label))
    needed[label] = None


@contextmanager
def _kept(model: nn.Module) -> Iterator[None]:
    """The model's buffers, which a forward pass in training mode moves, as they were before."""
    before = [buffer.clone() for buffer in model.buffers()]
    try:
        yield
    finally:
        for buffer, value in zip(model.buffers(), before, strict=True):
            buffer.copy_(value)
