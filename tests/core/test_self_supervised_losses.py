"""Losses with tasks of their own: turned images, masked values, a second data set."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from trainables.core import catalog
from trainables.core.batch import Outputs
from trainables.core.errors import SettingError
from trainables.core.randomness import ExampleStreams, Stream

from ..contracts.toys import seeded
from .loss_inputs import logits, loss_of


def view(x: Tensor, y: Tensor, features: Tensor) -> Outputs:
    return Outputs(features, features, x, y)


def silence(loss: torch.nn.Module) -> None:
    """All weights of the loss's own head 0 for good, and so its output."""
    for parameter in loss.parameters():
        parameter.requires_grad_(False).zero_()


# --- turns ----------------------------------------------------------------------------------


def images(n: int = 40, side: int = 5) -> Tensor:
    return torch.rand(n, 2, side, side, generator=seeded(3))


def test_turns_are_those_that_the_targets_say() -> None:
    x, y = images(), torch.full((40,), 7)
    given = x.clone()
    turned, turns = catalog.build("augmentations", {"name": "Rotate90"})(x, y, Stream(1))
    assert torch.equal(x, given)
    assert turns.dtype == torch.int64
    assert set(turns.tolist()) == {0, 1, 2, 3}
    for before, after, k in zip(x, turned, turns.tolist(), strict=True):
        expected = before
        for _ in range(k):
            # A quarter turn counterclockwise: the last column becomes the first row.
            expected = expected.transpose(1, 2).flip(1)
        assert torch.equal(after, expected)


def test_turns_are_uniform() -> None:
    x = torch.zeros(8000, 1, 1, 1)
    rotate = catalog.build("augmentations", {"name": "Rotate90"})
    _, turns = rotate(x, torch.zeros(8000), Stream(0))
    # Four standard deviations of a count of 8000 at 1/4.
    assert (turns.bincount(minlength=4) - 2000).abs().max() < 4 * math.sqrt(8000 * 3 / 16)


def test_turn_of_an_example_is_its_own() -> None:
    rotate = catalog.build("augmentations", {"name": "Rotate90"})
    x, index = images(12), torch.arange(12)
    whole, turns = rotate(x, index, ExampleStreams(5, index))
    part, last = rotate(x[8:], index[8:], ExampleStreams(5, index[8:]))
    assert torch.equal(part, whole[8:])
    assert torch.equal(last, turns[8:])


@pytest.mark.parametrize("shape", [(1, 4, 5), (3, 30)])
def test_only_squares_turn(shape: tuple[int, ...]) -> None:
    rotate = catalog.build("augmentations", {"name": "Rotate90"})
    with pytest.raises(SettingError, match=r"needs square images \(c, h, h\), found inputs of"):
        rotate(torch.zeros(2, *shape), torch.zeros(2), Stream(0))


def test_an_untrained_guess_at_the_turn_costs_ln_4() -> None:
    loss = loss_of("RotationPrediction", {"width": 6})
    features, turns = logits(8, 6).float(), torch.arange(8) % 4
    outputs = {"rotated": view(features, turns, features)}
    expected = F.cross_entropy(features @ loss.head.weight.T + loss.head.bias, turns)
    torch.testing.assert_close(loss(outputs), expected)
    silence(loss)
    assert float(loss(outputs)) == pytest.approx(math.log(4))


def test_turns_of_real_digits_can_be_told() -> None:
    data = catalog.build("data", {"name": "Digits"})
    x = data.load(".").train.x[:300]
    turned, turns = catalog.build("augmentations", {"name": "Rotate90"})(x, x, Stream(2))
    loss = loss_of("RotationPrediction", {"width": 64}, hidden=32)
    outputs = {"rotated": view(turned, turns, turned.flatten(1))}
    optimizer = torch.optim.Adam(loss.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        loss(outputs).backward()
        optimizer.step()
    assert float(loss(outputs).detach()) < 0.5 * math.log(4)


def test_turns_must_be_numbers() -> None:
    loss = loss_of("RotationPrediction", {"width": 6})
    with pytest.raises(SettingError, match="RotationPrediction needs class numbers"):
        loss({"rotated": view(logits(8, 6), torch.full((8, 4), 0.25), logits(8, 6).float())})


# --- masked values --------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(2, 30), (1, 8, 8)])
def test_errors_count_where_values_are_hidden(shape: tuple[int, ...]) -> None:
    facts = {"width": 6, "shape": shape}
    loss = loss_of("MaskedReconstruction", facts)
    x = torch.randn(5, *shape, generator=seeded(1))
    hide = torch.rand(5, *shape, generator=seeded(2)) < 0.3
    features = logits(5, 6).float()
    masked = torch.where(hide, 0.0, x)
    outputs = {"clean": view(x, x, features), "masked": view(masked, x, features)}
    guess = (features @ loss.decoder.weight.T + loss.decoder.bias).reshape(x.shape)
    torch.testing.assert_close(loss(outputs), (guess - x)[hide].square().mean())
    silence(loss)
    loss.decoder.bias.fill_(0.5)
    torch.testing.assert_close(loss(outputs), (x[hide] - 0.5).square().mean())


def test_features_of_the_masked_view_are_read() -> None:
    loss = loss_of("MaskedReconstruction", {"width": 6, "shape": (3, 4)}, hidden=5)
    x = torch.randn(5, 3, 4, generator=seeded(1)).requires_grad_()
    clean, masked = logits(5, 6).float().requires_grad_(), logits(5, 6, 1).float().requires_grad_()
    value = loss({"clean": view(x, x, clean), "masked": view(torch.zeros(5, 3, 4), x, masked)})
    found = torch.autograd.grad(value, (masked, clean, x), allow_unused=True)
    assert found[0] is not None
    assert found[0].abs().sum() > 0
    assert found[1:] == (None, None)


def test_nothing_hidden_costs_nothing() -> None:
    loss = loss_of("MaskedReconstruction", {"width": 6, "shape": (3, 4)})
    x, features = torch.ones(5, 3, 4), logits(5, 6).float()
    value = loss({"clean": view(x, x, features), "masked": view(x, x, features)})
    assert float(value.detach()) == 0


# --- a second task --------------------------------------------------------------------------


def test_second_task_has_the_classes_of_its_view() -> None:
    facts = {"width": 6, "outputs": 10, "classes_of": {"auxiliary": 3}}
    features, y = logits(6, 6).float(), torch.tensor([0, 1, 2, 2, 1, 0])
    loss = loss_of("AuxiliaryTask", facts)
    expected = F.cross_entropy(features @ loss.head.weight.T + loss.head.bias, y)
    torch.testing.assert_close(loss({"auxiliary": view(features, y, features)}), expected)
    silence(loss)
    assert float(loss({"auxiliary": view(features, y, features)})) == pytest.approx(math.log(3))
    mixed = torch.full((6, 3), 1 / 3)
    assert float(loss({"auxiliary": view(features, mixed, features)})) == pytest.approx(math.log(3))
    assert loss_of("AuxiliaryTask", facts, view="noisy").head.weight.shape == (10, 6)


def test_second_task_with_a_hidden_layer() -> None:
    facts = {"width": 6, "outputs": 10, "classes_of": {}}
    loss = loss_of("AuxiliaryTask", facts, view="noisy", hidden=5)
    assert [tuple(one.shape) for one in loss.parameters()] == [(5, 6), (5,), (10, 5), (10,)]
    with pytest.raises(SettingError, match="hidden must be at least 0, found -1"):
        loss_of("AuxiliaryTask", facts, hidden=-1)
