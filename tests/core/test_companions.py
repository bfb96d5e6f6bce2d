"""Views with examples of their own, views of views, and what losses with heads make of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from trainables.core.errors import SettingError
from trainables.core.randomness import Stream
from trainables.core.recipe import resolve
from trainables.core.training import Training

from ..contracts.toys import same

SMALL = {
    "data": {"name": "Digits", "classes": [1, 2], "limit": 120},
    "architecture": {"name": "MLP", "hidden": [16]},
    "training": {"epochs": 2, "batch_size": 32},
}
OTHER = {
    "views": {"auxiliary": {"name": "OtherData", "data": {"name": "Digits", "classes": [3, 4, 7]}}},
    "losses": {"main": {}, "aux": {"name": "AuxiliaryTask"}},
}


def views_of(training: Training, count: int = 16) -> dict[str, Any]:
    (batch,) = training.parts.train.batches([torch.arange(count)], device="cpu")
    return training.objective._views(training.model, batch, Stream(0))


def test_an_auxiliary_task_has_its_own_classes_and_head() -> None:
    training = Training(SMALL | OTHER)
    seen = views_of(training)
    assert len(seen["auxiliary"].x) == 16
    assert set(seen["auxiliary"].y.tolist()) == {0, 1, 2}
    assert set(seen["clean"].y.tolist()) == {0, 1}
    head = training.objective.losses[1].head
    assert [tuple(one.shape) for one in head.parameters()] == [(3, 16), (3,)]
    assert training.model.head.out_features == 2


@pytest.mark.parametrize("weighter", ["Fixed", "CoV", "GradientSimilarity"])
def test_its_head_takes_its_own_gradient_and_the_trunk_the_weighed_one(weighter: str) -> None:
    coefficient = 0.25
    config = SMALL | OTHER | {"weighter": weighter}
    config["losses"] = {"main": {}, "aux": {"name": "AuxiliaryTask", "coefficient": coefficient}}
    training = Training(config)
    model, objective = training.model, training.objective
    (batch,) = training.parts.train.batches([torch.arange(16)], device="cpu")
    model.eval()
    step = objective.backward(model, batch, Stream(0))
    seen = objective._views(model, batch, Stream(0))
    outputs = objective.task.outputs(model, seen, objective.forward_mode)
    main, aux = (loss(outputs) for loss in objective.losses)
    head, trunk = objective.private[1], list(model.layers.parameters())
    own = torch.autograd.grad(coefficient * aux, head, retain_graph=True)
    assert all(
        torch.allclose(parameter.grad, expected, rtol=1e-4, atol=1e-7)
        for parameter, expected in zip(head, own, strict=True)
    )
    weighed = step.weights[0] * main + step.weights[1] * coefficient * aux
    for parameter, expected in zip(trunk, torch.autograd.grad(weighed, trunk), strict=True):
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-4, atol=1e-7)


def test_the_other_set_may_have_a_batch_size_of_its_own() -> None:
    other = OTHER["views"]["auxiliary"] | {"batch_size": 5}
    training = Training(SMALL | OTHER | {"views": {"auxiliary": other}})
    assert len(views_of(training)["auxiliary"].x) == 5
    training.epoch()


def test_inputs_of_another_shape_are_refused(small_root: Any) -> None:
    other = {"name": "OtherData", "data": {"name": "UCR", "dataset": "Waves"}}
    with pytest.raises(SettingError, match=r"views/auxiliary: .* \(1, 8, 8\), found \(1, 40\)"):
        Training(SMALL | OTHER | {"views": {"auxiliary": other}}, root=str(small_root))


def test_a_wrong_setting_of_the_other_set_is_named_before_data_is_read() -> None:
    other = {"name": "OtherData", "data": {"name": "Digits", "limits": 3}}
    with pytest.raises(SettingError, match=r"views/auxiliary: .*data/limits.*'limit'"):
        resolve(SMALL | OTHER | {"views": {"auxiliary": other}})


UDA = {
    "data": {"name": "Digits", "labels": 50},
    "views": {
        "unlabelled": {"name": "Unlabelled", "ratio": 2},
        "noisy": {"name": "GaussianNoise", "of": "unlabelled"},
    },
    "losses": {
        "main": {},
        "kl": {"name": "Consistency", "target": "unlabelled", "view": "noisy"},
    },
}


def test_few_labels_and_all_inputs() -> None:
    training = Training(SMALL | UDA)
    assert len(training.parts.train) == 50
    assert torch.bincount(training.parts.train.y).tolist() == [5] * 10
    seen = views_of(training)
    assert {label: len(one.x) for label, one in seen.items()} == {
        "clean": 16,
        "unlabelled": 32,
        "noisy": 32,
    }
    assert seen["unlabelled"].y.isnan().all()
    assert not torch.equal(seen["noisy"].x, seen["unlabelled"].x)
    assert (seen["noisy"].x - seen["unlabelled"].x).std() == pytest.approx(0.1, rel=0.1)
    assert not training.epoch().diverged


def test_hidden_labels_cannot_be_learned_from() -> None:
    config = SMALL | UDA
    config["losses"] = {"main": {"view": "unlabelled"}}
    config["views"] = {"unlabelled": {"name": "Unlabelled"}}
    with pytest.raises((SettingError, RuntimeError, ValueError)):
        Training(config).epoch()


def test_unlabelled_needs_hidden_labels() -> None:
    with pytest.raises(SettingError, match=r"views/unlabelled: .*data/labels"):
        Training(SMALL | UDA | {"data": "Digits"})


def test_an_attack_needs_targets_or_a_divergence() -> None:
    views = UDA["views"] | {"noisy": {"name": "PGD", "of": "unlabelled", "steps": 2}}
    with pytest.raises(SettingError, match=r"views/noisy: .*are hidden; set climbs: kl"):
        resolve(SMALL | UDA | {"views": views})
    views["noisy"]["climbs"] = "kl"
    training = Training(SMALL | UDA | {"views": views})
    seen = views_of(training)
    assert 0 < float((seen["noisy"].x - seen["unlabelled"].x).abs().max()) <= 8 / 255 + 1e-6


# --- views of views -------------------------------------------------------------------------


def chain(**of: str) -> dict[str, Any]:
    views = {label: {"name": "GaussianNoise", "of": source} for label, source in of.items()}
    return SMALL | {"views": views, "losses": {"main": {"view": next(iter(of))}}}


def test_a_view_is_made_of_another_whatever_their_order() -> None:
    training = Training(chain(b="a", a="clean"))
    assert training.objective.made == ("a", "b")
    assert training.objective.seen == ("b",)
    deviation = float((views_of(training, 90)["b"].x - training.parts.train.x[:90]).std())
    assert deviation == pytest.approx(0.1 * 2**0.5, rel=0.05)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (chain(a="b", b="a"), "made of each other, found a -> b -> a"),
        (chain(a="a"), "made of each other, found a -> a"),
        (chain(a="cleen"), "unknown view 'cleen'.*'clean'"),
        (chain(a="clean", b="a"), "views/b is read by no loss"),
    ],
)
def test_wrong_sources_are_named(config: Any, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        resolve(config)


def test_augmentation_comes_before_all_views() -> None:
    config = chain(a="clean")
    config["training"] = SMALL["training"] | {"augment": ["RandomFlip", {"name": "RandomCrop"}]}
    config["losses"] = {"main": {}, "kl": {"name": "Consistency", "view": "a"}}
    training = Training(config)
    seen = views_of(training)
    assert not torch.equal(seen["clean"].x, training.parts.train.x[:16])
    assert (seen["a"].x - seen["clean"].x).std() == pytest.approx(0.1, rel=0.1)
    # Not in evaluation: equal to a model that never saw an augmentation.
    plain = Training(chain(a="clean"))
    plain.model.load_state_dict(training.model.state_dict())
    rows = [one.evaluate(["Clean"], part="test").rows for one in (training, plain)]
    assert [row["value"] for row in rows[0]] == [row["value"] for row in rows[1]]


def test_a_weighter_that_looks_back_sees_the_losses_after_the_step() -> None:
    config = SMALL | OTHER | {"weighter": "FAMO", "architecture": "ResNet18"}
    config["architecture"] = {"name": "ResNet18", "channels": 4}
    training = Training(config)
    seen: list[torch.Tensor] = []
    weighter = training.objective.weighing.weighter
    original = weighter.observe
    weighter.observe = lambda losses: (seen.append(losses.clone()), original(losses))
    (batch,) = training.parts.train.batches([torch.arange(32)], device="cpu")
    training.model.train()
    step = training._step(batch, Stream(0))
    (after,) = seen
    assert after.shape == (2,)
    assert not torch.equal(after, step.losses)
    # A second forward pass must not count in the running statistics.
    counts = [b for name, b in training.model.named_buffers() if name.endswith("tracked")]
    assert counts
    assert same([int(one) for one in counts], [1] * len(counts))


def test_what_a_weighter_learns_is_neither_decayed_nor_clipped() -> None:
    config = SMALL | OTHER | {"weighter": "Uncertainty"}
    config["training"] = SMALL["training"] | {
        "optimizer": {"name": "SGD", "lr": 0.1, "weight_decay": 0.5},
        "clip_norm": 1e-9,
    }
    training = Training(config)
    groups = training.optimizer.param_groups
    assert [group["weight_decay"] for group in groups] == [0.5, 0.0]
    assert groups[1]["params"] == list(training.objective.weighing.parameters())
    before = groups[1]["params"][0].detach().clone()
    (batch,) = training.parts.train.batches([torch.arange(32)], device="cpu")
    training._set_lr(0.0)
    training._step(batch, Stream(0))
    assert (groups[1]["params"][0] - before).abs().max() > 1e-3
