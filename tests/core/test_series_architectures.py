"""Networks for time series against closed forms, torch's own layers and sums by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.core import catalog
from trainables.core.errors import SettingError

NAMES = ["FCN", "LSTM", "SeriesResNet", "Transformer"]
each = pytest.mark.parametrize("name", NAMES)
Shape = tuple[int, ...]


def architecture(name: str, shape: Shape, outputs: int = 3, **settings: Any) -> Any:
    facts = {"mean": [0.0] * shape[0], "deviation": [1.0] * shape[0]} | {
        key: settings.pop(key) for key in ("mean", "deviation") if key in settings
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = {"name": name} | settings
        return catalog.build("architectures", config, shape=shape, outputs=outputs, **facts)


def noise(*shape: int, seed: int = 1, **settings: Any) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), **settings)


def stirred(model: nn.Module) -> nn.Module:
    """The model with parameters and statistics that are neither 0 nor 1, in float64, evaluating."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for value in model.state_dict().values():
            if value.is_floating_point() and value.dim() == 1:
                value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
    return model.double().eval()


# --- sizes ------------------------------------------------------------------------------------


def resnet_size(channels: int, outputs: int) -> int:
    """Blocks of 64, 128, 128 with kernels 8, 5, 3 and a head: weights, and 2 per norm's channel."""
    total = 0
    for before, after in ((channels, 64), (64, 128), (128, 128)):
        total += 8 * before * after + 5 * after**2 + 3 * after**2 + 2 * 3 * after
        total += 2 * after + (before * after if before != after else 0)
    return total + 129 * outputs


def transformer_size(channels: int, outputs: int, *, places: int = 0, w: int = 64) -> int:
    block = 2 * 2 * w + (w + 1) * 3 * w + (w + 1) * w + (w + 1) * 4 * w + (4 * w + 1) * w
    return (8 * channels + 1) * w + places * w + 3 * block + 2 * w + (w + 1) * outputs


SIZES = [
    ("FCN", (1, 96), 2, {}, 1024 + 262_144 + 1024 + 129 * 2),
    ("FCN", (4, 30), 5, {"filters": [3, 2], "kernels": [2, 5]}, 24 + 30 + 10 + 3 * 5),
    ("SeriesResNet", (1, 96), 2, {}, resnet_size(1, 2)),
    ("SeriesResNet", (3, 40), 7, {}, resnet_size(3, 7)),
    # Four gates of weights from input and state and torch's two biases; two directions.
    ("LSTM", (3, 40), 5, {}, 2 * 4 * 64 * (3 + 64 + 2) + 129 * 5),
    (
        "LSTM",
        (2, 9),
        1,
        {"hidden": 6, "layers": 3, "bidirectional": False},
        4 * 6 * (2 + 6 + 2) + 2 * 4 * 6 * (6 + 6 + 2) + 7,
    ),
    ("Transformer", (1, 96), 2, {}, transformer_size(1, 2)),
    ("Transformer", (2, 97), 4, {"width": 32}, transformer_size(2, 4, w=32)),
    (
        "Transformer",
        (1, 96),
        2,
        {"positions": "learned"},
        transformer_size(1, 2, places=23),
    ),
]


@pytest.mark.parametrize(("name", "shape", "outputs", "settings", "expected"), SIZES)
def test_parameter_counts(
    name: str, shape: Shape, outputs: int, settings: dict[str, Any], expected: int
) -> None:
    model = architecture(name, shape, outputs, **settings)
    assert sum(one.numel() for one in model.parameters()) == expected


@pytest.mark.parametrize(("name", "expected"), [("FCN", 265_986), ("SeriesResNet", 506_818)])
def test_sizes_with_what_keras_adds(name: str, expected: int) -> None:
    """Keras counts a bias per convolution's channel and two statistics per normalised channel."""
    model = architecture(name, (1, 96), 2)
    biases = [one.out_channels for one in model.modules() if isinstance(one, nn.Conv1d)]
    statistics = [
        2 * one.num_features for one in model.modules() if isinstance(one, nn.BatchNorm1d)
    ]
    own = sum(one.numel() for one in model.parameters())
    assert own + sum(biases) + sum(statistics) == expected


# --- what all share ---------------------------------------------------------------------------


@each
@pytest.mark.parametrize("shape", [(1, 8), (1, 24), (3, 40), (2, 101)], ids=str)
@pytest.mark.parametrize("outputs", [1, 6])
def test_any_number_of_channels_steps_and_outputs(name: str, shape: Shape, outputs: int) -> None:
    model = architecture(name, shape, outputs)
    x = noise(4, *shape)
    features = model.features(x)
    assert features.shape == (4, model.width)
    assert model.eval()(x).shape == (4, outputs)
    assert torch.equal(model(x), model.head(model.features(x)))


@each
def test_stages_and_head_hold_all_parameters_once(name: str) -> None:
    settings = {"layers": 3} if name == "LSTM" else {}
    model = architecture(name, (2, 30), **settings)
    stages = model.stages()
    assert len(stages) == (4 if name == "Transformer" else 3)
    owned = [id(one) for stage in [*stages, model.head] for one in stage.parameters()]
    assert sorted(owned) == sorted(id(one) for one in model.parameters())
    assert all(list(stage.parameters()) for stage in stages)


@each
def test_every_parameter_learns(name: str) -> None:
    model = architecture(name, (2, 30)).train()
    F.cross_entropy(model(noise(8, 2, 30)), torch.arange(8) % 3).backward()
    gradients = {key: one.grad for key, one in model.named_parameters()}
    assert [key for key, one in gradients.items() if one is None or not one.any()] == []


@each
def test_normalisation_comes_first(name: str) -> None:
    mean, deviation = [1.0, -2.0], [2.0, 0.5]
    inside = architecture(name, (2, 30), mean=mean, deviation=deviation).eval()
    outside = architecture(name, (2, 30)).eval()
    x = noise(4, 2, 30)
    scaled = (x - torch.tensor(mean)[:, None]) / torch.tensor(deviation)[:, None]
    torch.testing.assert_close(inside(x), outside(scaled))


@each
def test_examples_do_not_see_each_other_in_evaluation(name: str) -> None:
    model = architecture(name, (2, 30)).double().eval()
    x = noise(5, 2, 30, dtype=torch.float64)
    torch.testing.assert_close(torch.cat([model(one[None]) for one in x]), model(x))


@each
def test_gradient_of_the_input_in_evaluation_mode_with_frozen_parameters(name: str) -> None:
    """What an attack asks for, against differences."""
    model = architecture(name, (2, 24)).double().eval().requires_grad_(False)
    x = noise(2, 2, 24, dtype=torch.float64, requires_grad=True)
    model.head.weight.copy_(noise(*model.head.weight.shape, dtype=torch.float64))
    before = {key: one.training for key, one in model.named_modules()}
    (found,) = torch.autograd.grad(model(x).square().sum(), x)
    assert {key: one.training for key, one in model.named_modules()} == before
    direction = noise(2, 2, 24, seed=3, dtype=torch.float64)
    h = 1e-7  # small, because ReLU has kinks
    with torch.no_grad():
        above, below = (model(x + sign * h * direction).square().sum() for sign in (1, -1))
    slope = float((above - below) / (2 * h))
    assert float((found * direction).sum()) == pytest.approx(slope, rel=1e-5)


@each
@pytest.mark.parametrize("mode", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_double_backward(name: str, mode: bool, dtype: torch.dtype) -> None:
    """A penalty on the input's gradient reaches the weights; its slope is that of differences."""
    settings = {} if name in ("FCN", "SeriesResNet") else {"dropout": 0}
    x = noise(3, 1, 16)

    def penalty(weight: float, dtype: torch.dtype) -> tuple[Tensor, nn.Module]:
        model = architecture(name, (1, 16), **settings).to(dtype).train(mode)
        with torch.no_grad():
            model.head.weight[0, 0] += weight
        at = x.to(dtype).requires_grad_()
        (gradient,) = torch.autograd.grad(model(at).square().sum(), at, create_graph=True)
        return gradient.square().sum(), model

    value, model = penalty(0, dtype)
    found = torch.autograd.grad(value, list(model.parameters()), allow_unused=True)
    reached = [one for one in found if one is not None]
    assert all(torch.isfinite(one).all() for one in reached)
    assert len(reached) >= len(found) - 2
    above, below = (float(penalty(h, torch.float64)[0].detach()) for h in (1e-5, -1e-5))
    weight = next(i for i, one in enumerate(model.parameters()) if one is model.head.weight)
    expected = pytest.approx((above - below) / 2e-5, rel=1e-3 if dtype == torch.float32 else 1e-6)
    assert float(found[weight][0, 0]) == expected


@each
@pytest.mark.parametrize("shape", [(3, 8, 8), (5,)], ids=str)
def test_what_is_no_series_is_refused(name: str, shape: Shape) -> None:
    with pytest.raises(SettingError) as error:
        architecture(name, shape)
    assert f"{name} needs series (c, t), found inputs of shape {shape}" in str(error.value)


@pytest.mark.parametrize(
    ("name", "shape", "settings", "message"),
    [
        (
            "FCN",
            (1, 7),
            {},
            r"FCN needs series of at least 8 steps \(its longest kernel\), found 7",
        ),
        ("FCN", (1, 30), {"filters": [3]}, "filters must have 3 entries, found"),
        ("FCN", (1, 30), {"kernels": [0]}, "kernels must be at least 1, found 0"),
        ("FCN", (1, 30), {"kernels": []}, "kernels must name at least one size"),
        ("SeriesResNet", (1, 7), {}, "SeriesResNet needs series of at least 8 steps"),
        ("SeriesResNet", (1, 30), {"filters": 64}, "filters must be a list, found 64"),
        ("SeriesResNet", (1, 30), {"filters": []}, "filters must name at least one size"),
        ("Transformer", (1, 7), {}, r"Transformer needs series of at least 8 steps \(one patch\)"),
        ("Transformer", (1, 30), {"stride": 9}, "stride must be at most the patch of 8, found 9"),
        (
            "Transformer",
            (1, 30),
            {"heads": 5},
            r"width must be a multiple of heads \(5\), found 64",
        ),
        ("Transformer", (1, 30), {"positions": "sin"}, "Did you mean 'sinusoidal'"),
        ("LSTM", (1, 30), {"bidirectional": "no"}, "bidirectional must be true or false"),
        ("LSTM", (1, 30), {"pooling": "max"}, "pooling cannot be 'max'"),
        ("LSTM", (1, 30), {"dropout": 1}, "dropout must be at most 0.99, found 1"),
    ],
)
def test_refusals(name: str, shape: Shape, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        architecture(name, shape, **settings)


# --- convolutional ----------------------------------------------------------------------------


def convolved(x: np.ndarray, weight: np.ndarray, norm: list[np.ndarray]) -> np.ndarray:
    """x [c, t] by sums over a kernel and batch normalisation with given statistics.

    An even kernel reaches one step further to the right than to the left.
    """
    kernel, t = weight.shape[2], x.shape[1]
    out = np.zeros((len(weight), t))
    for step in range(t):
        for k in range(kernel):
            at = step + k - (kernel - 1) // 2
            if 0 <= at < t:
                out[:, step] += weight[:, :, k] @ x[:, at]
    return normed(out, norm)


def normed(x: np.ndarray, norm: list[np.ndarray]) -> np.ndarray:
    scale, shift, mean, variance = (one[:, None] for one in norm)
    return (x - mean) / np.sqrt(variance + 1e-5) * scale + shift


def held(state: dict[str, np.ndarray], key: str) -> list[np.ndarray]:
    return [state[f"{key}.{one}"] for one in ("weight", "bias", "running_mean", "running_var")]


def arrays(model: nn.Module) -> dict[str, np.ndarray]:
    return {key: value.numpy() for key, value in model.state_dict().items()}


def test_fcn_equals_sums_by_hand() -> None:
    model = stirred(architecture("FCN", (2, 9), filters=[3, 4], kernels=[8, 3]))
    x = noise(2, 9, dtype=torch.float64)
    state, found = arrays(model), x.numpy()
    for i in range(2):
        layer = f"layers.{i}.0"
        found = convolved(found, state[f"{layer}.1.weight"], held(state, f"{layer}.2")).clip(0)
    with torch.no_grad():
        np.testing.assert_allclose(model.features(x[None])[0].numpy(), found.mean(1), rtol=1e-9)


def test_residual_blocks_equal_sums_by_hand() -> None:
    model = stirred(architecture("SeriesResNet", (2, 9), filters=[3, 3], kernels=[4, 3]))
    x = noise(2, 9, dtype=torch.float64)
    state, found = arrays(model), x.numpy()
    for i in range(2):
        branch = f"blocks.{i}.branch"
        inner = convolved(found, state[f"{branch}.0.1.weight"], held(state, f"{branch}.0.2"))
        inner = convolved(
            inner.clip(0), state[f"{branch}.2.1.weight"], held(state, f"{branch}.2.2")
        )
        shortcut = f"blocks.{i}.shortcut"
        if i == 0:
            weight = state[f"{shortcut}.1.weight"]
            assert weight.shape == (3, 2, 1)
            found = convolved(found, weight, held(state, f"{shortcut}.2"))
        else:
            found = normed(found, held(state, shortcut))
        found = (found + inner).clip(0)
    with torch.no_grad():
        np.testing.assert_allclose(model.features(x[None])[0].numpy(), found.mean(1), rtol=1e-9)


@pytest.mark.parametrize("kernel", range(1, 9))
def test_same_padding_is_torchs(kernel: int) -> None:
    model = architecture("FCN", (2, 11), filters=[3], kernels=[kernel]).eval()
    padding, convolution = model.layers[0][0][:2]
    x = noise(2, 2, 11)
    found = convolution(padding(x))
    # torch warns of the copy that an even kernel needs; the surplus zero stands on the right.
    extra = F.pad(x, (0, 1)) if kernel % 2 == 0 else x
    expected = F.conv1d(extra, convolution.weight, padding=(kernel - 1) // 2)
    assert found.shape == (2, 3, 11)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("name", "left", "right"),
    # Per 8, 5, 3: 3 + 2 + 1 steps before, 4 + 2 + 1 steps after; three blocks of them.
    [("FCN", 6, 7), ("SeriesResNet", 18, 21)],
)
def test_receptive_field(name: str, left: int, right: int) -> None:
    model = architecture(name, (1, 61)).double().eval()
    x = noise(1, 1, 61, dtype=torch.float64, requires_grad=True)
    trunk = model.layers if name == "FCN" else model.blocks
    (gradient,) = torch.autograd.grad(trunk(x)[0, :, 30].sum(), x)
    reached = gradient[0, 0].nonzero().flatten()
    assert (int(reached.min()), int(reached.max())) == (30 - left, 30 + right)


def test_glorot_as_in_keras() -> None:
    weight = architecture("FCN", (1, 96)).layers[1][0][1].weight
    bound = math.sqrt(6 / (5 * (128 + 256)))
    assert 0.99 * bound < float(weight.detach().abs().max()) <= bound


# --- recurrent --------------------------------------------------------------------------------


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_lstm_equals_torchs_stacked(bidirectional: bool, pooling: str) -> None:
    model = architecture(
        "LSTM", (3, 12), hidden=5, layers=2, bidirectional=bidirectional, pooling=pooling
    ).eval()
    whole = nn.LSTM(3, 5, 2, batch_first=True, bidirectional=bidirectional)
    weights = {
        f"{kind}_l{i}{way}": value
        for i, layer in enumerate(model.layers)
        for key, value in layer.state_dict().items()
        for kind, way in [key.split("_l0")]
    }
    whole.load_state_dict(weights)
    x = noise(4, 3, 12)
    with torch.no_grad():
        steps, (last, _) = whole(x.transpose(1, 2))
        ways = last[-2:] if bidirectional else last[-1:]
        expected = torch.cat(list(ways), 1) if pooling == "last" else steps.mean(1)
        torch.testing.assert_close(model.features(x), expected)


def test_lstm_by_hand() -> None:
    model = architecture("LSTM", (2, 4), hidden=3, bidirectional=False, pooling="last")
    model = model.double().eval()
    x = noise(2, 4, dtype=torch.float64)
    wx, wh, bx, bh = (one.detach() for one in model.layers[0].parameters())
    h, c = torch.zeros(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    for step in range(4):
        i, f, g, o = (wx @ x[:, step] + bx + wh @ h + bh).chunk(4)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
    torch.testing.assert_close(model.features(x[None])[0], h)


def test_forget_gates_begin_open() -> None:
    model = architecture("LSTM", (1, 30), hidden=16, layers=2)
    for layer in model.layers:
        state = layer.state_dict()
        for way in ("", "_reverse"):
            both = state[f"bias_ih_l0{way}"] + state[f"bias_hh_l0{way}"]
            assert torch.equal(both[16:32], torch.ones(16))
            assert (both[:16].abs() <= 2 / 4).all()


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_dropout_of_the_lstm_is_on_every_layers_outputs(pooling: str) -> None:
    model = architecture("LSTM", (1, 8), hidden=64, dropout=0.5, pooling=pooling).train()
    torch.manual_seed(3)
    features = model.features(noise(20, 1, 8))
    zeros = float((features == 0).double().mean())
    assert zeros == pytest.approx(0.5 if pooling == "last" else 0.5**8, abs=0.04)


def test_names_in_the_state_of_an_lstm() -> None:
    model = architecture("LSTM", (1, 30), layers=2, bidirectional=False)
    kinds = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    layers = [f"layers.{i}.{kind}" for i in range(2) for kind in kinds]
    ends = ["head.weight", "head.bias"]
    assert list(model.state_dict()) == ["normalise.mean", "normalise.scale", *layers, *ends]


# --- transformer ------------------------------------------------------------------------------


def test_block_equals_torchs_encoder_layer() -> None:
    model = architecture("Transformer", (1, 24), width=16, depth=1).eval()
    ours = model.blocks[0][0]
    theirs = nn.TransformerEncoderLayer(
        16, 4, 64, dropout=0.1, activation="gelu", batch_first=True, norm_first=True
    ).eval()
    pairs = {
        "before_attention.": "norm1.",
        "projections.": "self_attn.in_proj_",
        "join.": "self_attn.out_proj.",
        "mlp.0.": "norm2.",
        "mlp.1.": "linear1.",
        "mlp.4.": "linear2.",
    }
    state = {}
    for key, value in ours.state_dict().items():
        prefix = next(one for one in pairs if key.startswith(one))
        state[pairs[prefix] + key.removeprefix(prefix)] = value
    theirs.load_state_dict(state)
    x = noise(3, 7, 16)
    torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "none"])
def test_order_of_patches_matters_but_without_positions(positions: str) -> None:
    model = architecture("Transformer", (2, 32), patch=8, stride=8, positions=positions).eval()
    x = noise(3, 2, 32)
    swapped = x.unflatten(2, (4, 8))[:, :, [2, 0, 3, 1]].flatten(2)
    with torch.no_grad():
        same = torch.allclose(model.features(x), model.features(swapped), atol=1e-5)
    assert same is (positions == "none")


@pytest.mark.parametrize(
    ("steps", "patch", "stride", "count"),
    [(24, 8, 4, 5), (25, 8, 4, 6), (8, 8, 8, 1), (9, 8, 8, 2), (30, 1, 1, 30), (31, 5, 3, 10)],
)
def test_patches_cover_every_step(steps: int, patch: int, stride: int, count: int) -> None:
    model = architecture("Transformer", (1, steps), patch=patch, stride=stride).double().eval()
    x = noise(1, 1, steps, dtype=torch.float64, requires_grad=True)
    assert model.embedding(F.pad(x, (0, model.surplus))).shape == (1, count, 64)
    (gradient,) = torch.autograd.grad(model.features(x)[0, 0], x)
    assert gradient.all()


def test_a_series_that_patches_do_not_fill_goes_on_with_its_last_value() -> None:
    longer = architecture("Transformer", (1, 28)).eval()
    shorter = architecture("Transformer", (1, 26)).eval()
    shorter.load_state_dict(longer.state_dict())
    x = noise(3, 1, 26)
    torch.testing.assert_close(
        shorter(x), longer(torch.cat([x, x[..., -1:], x[..., -1:]], 2)), rtol=0, atol=0
    )


def test_sinusoidal_places() -> None:
    model = architecture("Transformer", (1, 20), positions="sinusoidal", width=6, heads=2)
    places = model.embedding[1].places
    assert places.shape == (4, 6)
    for p in range(4):
        for i in range(3):
            angle = p / 10000 ** (2 * i / 6)
            assert float(places[p, 2 * i]) == pytest.approx(math.sin(angle), abs=1e-6)
            assert float(places[p, 2 * i + 1]) == pytest.approx(math.cos(angle), abs=1e-6)
    assert not [key for key in model.state_dict() if "places" in key]
