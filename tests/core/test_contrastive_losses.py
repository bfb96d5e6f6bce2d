"""Contrastive losses: golden values, naive loops, pytorch-metric-learning, degenerate cases."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainables.core.batch import Outputs
from trainables.core.errors import SettingError

from .loss_inputs import logits, loss_of

FACTS = {"width": 4}


def of(name: str, embeddings: list[Tensor], y: Tensor | None = None, **settings: Any) -> Tensor:
    """The loss of these embeddings, one tensor per view: its projection is put out of the way."""
    labels = [f"v{i}" for i in range(len(embeddings))]
    loss = loss_of(name, FACTS, views=labels, **settings)
    loss.head = nn.Identity()
    y = torch.arange(len(embeddings[0])) if y is None else y
    found: Tensor = loss(
        {label: Outputs(z, z, z, y) for label, z in zip(labels, embeddings, strict=True)}
    )
    return found


def naive(z: Tensor, y: list[int], temperature: float) -> list[float]:
    """The supervised contrastive loss of every anchor that has a positive, by loops."""
    unit = [[v / math.sqrt(sum(w * w for w in row)) for v in row] for row in z.tolist()]
    found = []
    for i in range(len(unit)):
        e = [
            math.exp(sum(a * b for a, b in zip(unit[i], unit[k], strict=True)) / temperature)
            for k in range(len(unit))
        ]
        others = sum(e) - e[i]
        terms = [-math.log(e[p] / others) for p in range(len(unit)) if p != i and y[p] == y[i]]
        if terms:
            found.append(sum(terms) / len(terms))
    return found


# --- NT-Xent --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("temperature", "expected"), [(0.1, 0.3472107), (0.5, 0.5359694), (1.0, 0.7326024)]
)
def test_value_of_two_pairs(temperature: float, expected: float) -> None:
    first = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    second = torch.tensor([[1.0, 1.0], [-1.0, 1.0]])
    found = of("NTXent", [first, second], temperature=temperature)
    assert float(found) == pytest.approx(expected, abs=1e-6)


def test_value_of_orthogonal_pairs() -> None:
    found = of("NTXent", [torch.eye(4), torch.eye(4)])
    assert float(found) == pytest.approx(math.log(1 + 6 * math.exp(-2)), abs=1e-6)
    assert float(found) == pytest.approx(0.5944377, abs=1e-6)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_value_of_embeddings_that_are_all_the_same(n: int) -> None:
    same = torch.ones(n, 4)
    assert float(of("NTXent", [same, 3 * same])) == pytest.approx(math.log(2 * n - 1), abs=1e-6)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_mean_is_over_both_views(temperature: float) -> None:
    views = [logits(5, seed=1), logits(5, seed=2)]
    each = naive(torch.cat(views), [*range(5), *range(5)], temperature)
    found = float(of("NTXent", views, temperature=temperature))
    assert found == pytest.approx(sum(each) / 10)
    # The authors' code adds the two views' means.
    assert 2 * found == pytest.approx(sum(each[:5]) / 5 + sum(each[5:]) / 5)


def test_length_of_an_embedding_is_irrelevant() -> None:
    first, second = logits(5, seed=1), logits(5, seed=2)
    scaled = first * torch.arange(1, 6).unsqueeze(1)
    torch.testing.assert_close(of("NTXent", [scaled, second]), of("NTXent", [first, second]))


# --- supervised -----------------------------------------------------------------------------

Y = torch.tensor([0, 1, 0, 2, 1, 0])


@pytest.mark.parametrize("temperature", [0.1, 1.0])
@pytest.mark.parametrize("views", [1, 2, 3])
def test_supervised_against_loops(temperature: float, views: int) -> None:
    z = [logits(seed=i) for i in range(views)]
    each = naive(torch.cat(z), Y.tolist() * views, temperature)
    # With one view the only example of class 2 has no positive and is no anchor.
    assert len(each) == (5 if views == 1 else 6 * views)
    found = of("SupervisedContrastive", z, Y, temperature=temperature)
    assert float(found) == pytest.approx(sum(each) / len(each))


def test_supervised_with_a_class_for_every_example_is_nt_xent() -> None:
    z = [logits(seed=1), logits(seed=2)]
    torch.testing.assert_close(
        of("SupervisedContrastive", z, temperature=0.5), of("NTXent", z, temperature=0.5)
    )


def test_supervised_without_any_positive_is_0() -> None:
    for n in (1, 4):
        z = logits(n).requires_grad_()
        found = of("SupervisedContrastive", [z])
        assert float(found.detach()) == 0
        assert torch.equal(torch.autograd.grad(found, z)[0], torch.zeros_like(z))


def test_supervised_of_one_class_of_equal_embeddings() -> None:
    found = of("SupervisedContrastive", [torch.ones(6, 4)], torch.zeros(6, dtype=torch.int64))
    assert float(found) == pytest.approx(math.log(5), abs=1e-6)


def test_views_may_differ_in_their_targets() -> None:
    first, second = logits(seed=1), logits(seed=2)
    loss = loss_of("SupervisedContrastive", FACTS, views=["a", "b"])
    loss.head = nn.Identity()
    found = loss(
        {"a": Outputs(first, first, first, Y), "b": Outputs(second, second, second, Y + 1)}
    )
    each = naive(torch.cat([first, second]), [*Y.tolist(), *(Y + 1).tolist()], 0.1)
    assert float(found) == pytest.approx(sum(each) / len(each))


def test_mixed_labels_are_refused() -> None:
    with pytest.raises(SettingError, match="SupervisedContrastive needs class numbers"):
        of("SupervisedContrastive", [logits()], torch.full((6, 4), 0.25))


# --- both -----------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_against_another_library(temperature: float) -> None:
    metric_learning = pytest.importorskip("pytorch_metric_learning.losses")
    views = [logits(8, 16, seed=1), logits(8, 16, seed=2)]
    both, pairs = torch.cat(views), torch.arange(8).repeat(2)
    expected = metric_learning.NTXentLoss(temperature=temperature)(both, pairs)
    torch.testing.assert_close(of("NTXent", views, temperature=temperature), expected)
    y = torch.arange(8) % 3
    expected = metric_learning.SupConLoss(temperature=temperature)(both, y.repeat(2))
    found = of("SupervisedContrastive", views, y, temperature=temperature)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", ["NTXent", "SupervisedContrastive"])
def test_gradients_are_those_of_the_values(name: str) -> None:
    z = [logits(5, seed=1).requires_grad_(), logits(5, seed=2).requires_grad_()]
    assert torch.autograd.gradcheck(lambda *found: of(name, list(found)), z)


@pytest.mark.parametrize("name", ["NTXent", "SupervisedContrastive"])
@pytest.mark.parametrize("scale", [0.0, 1e3])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_finite_for_short_and_long_embeddings(name: str, scale: float, dtype: torch.dtype) -> None:
    z = [(scale * logits(seed=i)).to(dtype).requires_grad_() for i in (1, 2)]
    found = of(name, z, temperature=0.05)
    assert torch.isfinite(found)
    assert all(torch.isfinite(one).all() for one in torch.autograd.grad(found, z))


@pytest.mark.parametrize("name", ["NTXent", "SupervisedContrastive"])
@pytest.mark.parametrize(
    ("settings", "shapes"),
    [
        ({}, [(4, 4), (128, 4)]),
        ({"hidden": 7, "projection": 3}, [(7, 4), (3, 7)]),
        ({"hidden": 0, "projection": 3}, [(3, 4)]),
    ],
)
def test_projection_head(
    name: str, settings: dict[str, Any], shapes: list[tuple[int, int]]
) -> None:
    loss = loss_of(name, FACTS, **settings)
    assert [one.shape for one in loss.parameters() if one.dim() == 2] == shapes
    z = logits(6, seed=1).float()
    views = {label: Outputs(z, z, z, Y) for label in loss.reads}
    identity = of(name, [loss.head(z)] * 2, Y, temperature=float(loss.temperature))
    torch.testing.assert_close(loss(views), identity)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"name": "NTXent", "temperature": 0}, "temperature must be above 0, found 0"),
        ({"name": "NTXent", "views": ["a", "b", "c"]}, "views must have 2 entries"),
        ({"name": "NTXent", "views": ["a", "a"]}, "each once"),
        ({"name": "NTXent", "projection": 0}, "projection must be at least 1, found 0"),
        ({"name": "NTXent", "hidden": "wide"}, "hidden must be a number or a quotient"),
        ({"name": "SupervisedContrastive", "views": []}, "at least 1 views"),
    ],
)
def test_settings_out_of_range(config: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        loss_of(facts=FACTS, **config)
