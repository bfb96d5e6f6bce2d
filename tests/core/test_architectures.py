"""Architectures against published parameter counts, other libraries, and plain formulas."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

from trainables.core import catalog
from trainables.core.architectures._preactivated import Preactivated
from trainables.core.architectures._residual import stage
from trainables.core.architectures._shake import ShakeDrop, ShakeMix, scaled
from trainables.core.errors import SettingError

SIMILARITY = {"padding": "same", "pooling": "each", "hidden_in": "head", "dropout": [0, 0]}
SERIES_BASELINE = {"hidden": [500, 500, 500], "dropout": [0.1, 0.2, 0.2, 0.3]}


def architecture(
    name: str, shape: tuple[int, ...], outputs: int = 10, **settings: Any
) -> nn.Module:
    channels = shape[0]
    model: nn.Module = catalog.build(
        "architectures",
        {"name": name} | settings,
        shape=shape,
        outputs=outputs,
        mean=[0.0] * channels,
        deviation=[1.0] * channels,
    )
    return model


CIFAR, IMAGENET = (3, 32, 32), (3, 224, 224)


def dead(width: int) -> int:
    """The 1x1 shortcut (w^2) and norm (2w) that a known port of ShakeShake never runs.

    It has one in each of the three blocks of each stage that keep their width.
    """
    return sum(3 * (w**2 + 2 * w) for w in (width, 2 * width, 4 * width))


COUNTS = [
    ("ConvNet", (1, 28, 28), 10, {}, 1_199_882),
    # 10 * 32 + 289 * 64, then 49 * 64 features to 128 hidden units and 2 outputs.
    ("ConvNet", (1, 28, 28), 2, SIMILARITY, 320 + 18_496 + 3137 * 128 + 129 * 2),
    # (96 + 1) 128 + (128 + 1) 256 + (256 + 1) 2
    ("MLP", (1, 96), 2, {}, 45_954),
    ("MLP", (1, 2, 3), 4, {"hidden": [5]}, 7 * 5 + 6 * 4),
    ("MLP", (1, 96), 2, SERIES_BASELINE, 97 * 500 + 2 * 501 * 500 + 501 * 2),
    ("ResNet18", CIFAR, 10, {}, 11_173_962),
    ("ResNet18", IMAGENET, 1000, {}, 11_689_512),
    ("ResNet18", CIFAR, 1000, {"stem": "imagenet"}, 11_689_512),
    ("ResNet34", IMAGENET, 1000, {}, 21_797_672),
    ("ResNet50", IMAGENET, 1000, {}, 25_557_032),
    ("ResNet101", IMAGENET, 1000, {}, 44_549_160),
    ("ResNet152", IMAGENET, 1000, {}, 60_192_808),
    ("ResNet200", IMAGENET, 1000, {}, 64_673_832),
    ("ResNet50D", IMAGENET, 1000, {}, 25_576_264),
    # CIFAR code in wide use has 11,171,146, without the last normalisation of 512 channels.
    ("PreActResNet18", CIFAR, 10, {}, 11_171_146 + 2 * 512),
    ("AllConv", CIFAR, 10, {}, 1_409_674),
    ("DenseNet", CIFAR, 10, {}, 1_059_298),
    ("DenseNet", CIFAR, 10, {"depth": 100, "bottleneck": True, "compression": 0.5}, 769_162),
    ("ResNeXt", CIFAR, 10, {}, 6_807_882),
    ("WideResNet", CIFAR, 10, {}, 2_243_546),
    ("WideResNet", CIFAR, 10, {"depth": 28}, 1_467_610),
    ("WideResNet", CIFAR, 10, {"depth": 28, "widen": 10}, 36_479_194),
    ("WideResNet", CIFAR, 100, {"depth": 28, "widen": 10}, 36_536_884),
    ("WideResNet", CIFAR, 10, {"depth": 34, "widen": 10}, 46_160_474),
    *(
        ("ShakeShake", CIFAR, 10, {"width": w, "normalised_stem": False}, port - dead(w))
        for w, port in ((32, 2_989_002), (64, 11_914_698), (96, 26_777_546), (112, 36_435_402))
    ),
    # The stem has scale and shift of 16 channels in place of a bias.
    ("ShakeShake", CIFAR, 10, {}, 2_989_002 - dead(32) + 16),
    ("PyramidNet", CIFAR, 10, {"depth": 272, "alpha": 200, "bottleneck": True}, 26_210_842),
    ("PyramidNet", CIFAR, 100, {"depth": 272, "alpha": 200, "bottleneck": True}, 26_288_692),
    ("ViT", IMAGENET, 1000, {"patch": 16}, 5_717_416),
    ("ViT", IMAGENET, 1000, {"patch": 16, "width": 768, "heads": 12}, 86_567_656),
]


@pytest.mark.parametrize(("name", "shape", "outputs", "settings", "expected"), COUNTS)
def test_parameter_counts(
    name: str, shape: tuple[int, ...], outputs: int, settings: dict[str, Any], expected: int
) -> None:
    with torch.device("meta"):
        model = architecture(name, shape, outputs, **settings)
    assert sum(one.numel() for one in model.parameters()) == expected


@pytest.mark.parametrize(
    ("name", "shape", "settings", "message"),
    [
        (
            "ConvNet",
            (3, 40),
            {},
            r"ConvNet needs images \(c, h, w\), found inputs of shape \(3, 40",
        ),
        ("ConvNet", (1, 5, 9), {}, "ConvNet needs images of at least 6x6, found 5x9"),
        ("ConvNet", (1, 9, 12), {"pooling": "each"}, "images of at least 10x10, found 9x12"),
        ("ConvNet", (1, 3, 4), SIMILARITY, "images of at least 4x4, found 3x4"),
        ("ConvNet", (1, 8, 8), {"padding": "some"}, "Did you mean 'same'"),
        ("ConvNet", (1, 8, 8), {"hidden_in": "body"}, "hidden_in cannot be 'body'"),
        ("ConvNet", (1, 8, 8), {"channels": [3]}, "channels must have 2 entries"),
        ("ConvNet", (1, 8, 8), {"channels": [3, 0]}, "channels must be at least 1, found 0"),
        ("ConvNet", (1, 8, 8), {"dropout": 0.5}, "dropout must be a list, found 0.5"),
        ("ConvNet", (1, 8, 8), {"dropout": [0, 1]}, "dropout must be at most 0.99, found 1"),
        ("ConvNet", (1, 8, 8), {"hidden": 0}, "hidden must be at least 1, found 0"),
        ("ResNet18", (3, 40), {}, r"ResNet18 needs images \(c, h, w\)"),
        ("ResNet18", CIFAR, {"stem": "cifra"}, "Did you mean 'cifar'"),
        ("ResNet18", CIFAR, {"channels": 0}, "channels must be at least 1, found 0"),
        ("ResNet50D", CIFAR, {"channels": 1}, "channels must be at least 2, found 1"),
        ("ResNet200", CIFAR, {"zero_residual": "no"}, "zero_residual must be true or false"),
        ("PreActResNet18", CIFAR, {"stem": "small"}, "stem cannot be 'small'"),
        ("AllConv", (3, 3, 9), {}, "AllConv needs images of at least 4x4, found 3x9"),
        ("AllConv", CIFAR, {"channels": [8]}, "channels must have 2 entries"),
        ("AllConv", CIFAR, {"dropout": 1}, "dropout must be at most 0.99, found 1"),
        ("WideResNet", CIFAR, {"depth": 29}, r"depth must be 6n \+ 4 .*at least 1, found 29"),
        ("WideResNet", CIFAR, {"depth": 4}, r"depth must be 6n \+ 4 .*at least 1, found 4"),
        ("WideResNet", CIFAR, {"widen": 1.5}, "widen must be a whole number, found 1.5"),
        ("WideResNet", CIFAR, {"dropout": -0.1}, "dropout must be at least 0, found -0.1"),
        ("WideResNet", (3, 0, 32), {}, "WideResNet needs images of at least 1x1, found 0x32"),
        ("DenseNet", (3, 32, 3), {}, "DenseNet needs images of at least 4x4, found 32x3"),
        ("DenseNet", CIFAR, {"depth": 41}, r"depth must be 3n \+ 4"),
        ("DenseNet", CIFAR, {"depth": 43, "bottleneck": True}, r"depth must be 6n \+ 4"),
        ("DenseNet", CIFAR, {"compression": 0}, "compression must be above 0, found 0"),
        ("DenseNet", CIFAR, {"growth": 0}, "growth must be at least 1, found 0"),
        ("ResNeXt", CIFAR, {"depth": 50}, r"depth must be 9n \+ 2"),
        ("ResNeXt", CIFAR, {"cardinality": 0}, "cardinality must be at least 1, found 0"),
        ("ShakeShake", CIFAR, {"depth": 28}, r"depth must be 6n \+ 2"),
        ("ShakeShake", CIFAR, {"width": 33}, "width must be even, found 33"),
        ("ShakeShake", CIFAR, {"mode": "shake-shake"}, "Did you mean 'shake-shake-image'"),
        ("PyramidNet", CIFAR, {"depth": 111}, r"depth must be 6n \+ 2"),
        ("PyramidNet", CIFAR, {"depth": 44, "bottleneck": True}, r"depth must be 9n \+ 2"),
        ("PyramidNet", CIFAR, {"alpha": -1}, "alpha must be at least 0, found -1"),
        ("PyramidNet", CIFAR, {"shakedrop": 1.1}, "shakedrop must be at most 1, found 1.1"),
        ("ViT", (3, 3, 32), {}, "ViT needs images of at least 4x4, found 3x32"),
        ("ViT", CIFAR, {"heads": 5}, "heads must divide width 192, found 5"),
        ("ViT", CIFAR, {"pooling": "tokens"}, "Did you mean 'token'"),
        ("ViT", CIFAR, {"ratio": 0}, "ratio must be above 0, found 0"),
        ("MLP", (1, 8, 8), {"hidden": []}, "hidden must name at least one width"),
        ("MLP", (1, 8, 8), {"hidden": 64}, "hidden must be a list, found 64"),
        ("MLP", (1, 8, 8), {"dropout": 1}, "dropout must be at most 0.99"),
        (
            "MLP",
            (1, 8, 8),
            {"dropout": [0.1, 0.2]},
            r"dropout must be one rate or 3, .*each of 2 hidden layers, found \[0.1, 0.2\]",
        ),
        ("MLP", (1, 8, 8), {"dropout": [0, 0, 1]}, "dropout must be at most 0.99"),
        ("MLP", (1, 8, 8), {"dropout": "much"}, "dropout must be a number or a quotient"),
    ],
)
def test_refusals(
    name: str, shape: tuple[int, ...], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingError, match=message):
        architecture(name, shape, **settings)


def filled(module: nn.Module, seed: int = 0) -> nn.Module:
    """`module` in evaluation mode with numbers from the seed in every parameter and statistic."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in module.state_dict().items():
        if value.is_floating_point() and not name.startswith("normalise"):
            wide = value.ndim > 1
            noise = torch.randn(value.shape, generator=generator)
            # Scales and variances above 0, weights about as large as at the start.
            plain = noise / math.sqrt(value[0].numel()) if wide else noise.abs() * 0.3 + 0.5
            value.copy_(noise * 0.2 if name.endswith(("bias", "mean")) else plain)
    return module.eval()


def pour(source: Iterable[Tensor], target: nn.Module) -> None:
    """Copy tensors into a module whose state has the same shapes in the same order."""
    with torch.no_grad():
        for value, place in zip(source, target.state_dict().values(), strict=True):
            assert value.shape == place.shape
            place.copy_(value)


def batch(shape: tuple[int, ...] = (3, 32, 32), n: int = 3, seed: int = 1) -> Tensor:
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("name", "twin"),
    [
        ("ResNet18", torchvision.models.resnet18),
        ("ResNet50", torchvision.models.resnet50),
    ],
)
def test_residual_networks_are_torchvisions(name: str, twin: Any) -> None:
    theirs = filled(twin(num_classes=7))
    ours = architecture(name, CIFAR, 7, stem="imagenet").eval()
    state = {}
    for key, value in theirs.state_dict().items():
        part, _, rest = key.partition(".")
        place = {"conv1": "stem.0", "bn1": "stem.1", "fc": "head"}.get(part)
        state[f"{place or f'layers.{int(part[-1]) - 1}'}.{rest}"] = value
    missing, surplus = ours.load_state_dict(state, strict=False)
    assert set(missing) == {"normalise.mean", "normalise.scale"}
    assert surplus == []
    x = batch((3, 40, 32), 2)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize("pooling", ["token", "mean"])
def test_transformer_is_torchvisions(pooling: str) -> None:
    settings = {"patch": 8, "width": 12, "depth": 2, "heads": 3, "ratio": 2}
    theirs = torchvision.models.VisionTransformer(
        image_size=32,
        patch_size=8,
        num_layers=2,
        num_heads=3,
        hidden_dim=12,
        mlp_dim=24,
        num_classes=5,
    )
    ours = filled(architecture("ViT", CIFAR, 5, pooling=pooling, **settings))
    encoder = theirs.encoder
    with torch.no_grad():
        pour(ours.patches.embed.state_dict().values(), theirs.conv_proj)
        pour(ours.layers[0].state_dict().values(), encoder.layers[0])
        pour(ours.layers[1].state_dict().values(), nn.Sequential(encoder.layers[1], encoder.ln))
        x = batch()
        tokens = theirs.eval()._process_input(x)
        if pooling == "token":
            tokens = torch.cat([ours.patches.token.expand(3, 1, 12), tokens], dim=1)
        tokens = encoder.ln(encoder.layers(tokens + ours.patches.positions))
        expected = tokens[:, 0] if pooling == "token" else tokens.mean(1)
        torch.testing.assert_close(ours.features(x), expected)
        assert ours.patches.positions.shape == (1, 16 + (pooling == "token"), 12)


def test_transformer_fills_up_with_the_mean() -> None:
    facts = {"outputs": 4, "mean": [0.2, 0.5], "deviation": [0.5, 2.0]}
    config = {"name": "ViT", "patch": 8, "width": 12, "depth": 1, "heads": 2}
    odd = filled(catalog.build("architectures", config, shape=(2, 20, 30), **facts))
    even = catalog.build("architectures", config, shape=(2, 24, 32), **facts).eval()
    even.load_state_dict(odd.state_dict())
    x = batch((2, 20, 30))
    full = torch.tensor([0.2, 0.5]).view(1, 2, 1, 1).repeat(3, 1, 24, 32)
    full[:, :, :20, :30] = x
    with torch.no_grad():
        torch.testing.assert_close(odd(x), even(full))


def test_dropout_of_the_transformer_spares_attention() -> None:
    model = architecture("ViT", CIFAR, width=12, depth=1, heads=2, dropout=0.2)
    rates = [one.p for one in model.modules() if isinstance(one, nn.Dropout)]
    # After the positions, the attention, and the two linear maps of the MLP.
    assert rates == [0.2] * 4
    assert model.layers[0][0].self_attention.dropout == 0


def test_dense_blocks_are_torchvisions() -> None:
    theirs = torchvision.models.DenseNet(
        growth_rate=6, block_config=(2, 2, 2), num_init_features=12, num_classes=5
    )
    ours = filled(
        architecture("DenseNet", CIFAR, 5, depth=16, growth=6, bottleneck=True, compression=0.5)
    )
    trunk = nn.Sequential(*list(theirs.features)[4:], nn.ReLU()).eval()
    pour(ours.layers.state_dict().values(), trunk)
    x = batch()
    with torch.no_grad():
        expected = trunk(functional.conv2d(x, ours.stem.weight, padding=1)).mean((2, 3))
        torch.testing.assert_close(ours.features(x), expected)


def norm(x: Tensor, by: nn.BatchNorm2d) -> Tensor:
    return functional.batch_norm(x, by.running_mean, by.running_var, by.weight, by.bias)


@pytest.mark.parametrize(("after", "stride"), [(4, 1), (6, 1), (6, 2)])
@pytest.mark.parametrize("opening", [True, False])
def test_preactivated_block(after: int, stride: int, opening: bool) -> None:
    block = filled(Preactivated(4, after, stride, opening=opening))
    x = batch((4, 5, 5))
    h = norm(x, block.opening[0]).relu() if opening else x
    first, norm_, _, _, second = block.branch
    branch = functional.conv2d(h, first.weight, padding=1, stride=stride)
    branch = functional.conv2d(norm(branch, norm_).relu(), second.weight, padding=1)
    same = after == 4 and stride == 1
    shortcut = x if same else functional.conv2d(h, block.shortcut.weight, stride=stride)
    torch.testing.assert_close(block(x), branch + shortcut)


def test_dropout_of_wide_networks_is_between_the_convolutions() -> None:
    model = architecture("WideResNet", CIFAR, depth=10, widen=1, dropout=0.3)
    rates = [one.p for one in model.modules() if isinstance(one, nn.Dropout)]
    assert rates == [0.3] * 3
    assert [type(one).__name__ for one in model.layers[0][0].branch][-2:] == ["Dropout", "Conv2d"]


def test_pooled_shortcut_of_resnet_d() -> None:
    blocks = stage(torchvision.models.resnet.Bottleneck, 4, 2, 1, 2, pooled=True)
    shortcut = filled(blocks[0].downsample)
    assert blocks[0].conv2.stride == (2, 2)
    x = batch((4, 5, 4))
    # Of 5 rows the last has no partner and is its own mean.
    rows = torch.cat([x[:, :, :4].unflatten(2, (2, 2)).mean(3), x[:, :, 4:]], dim=2)
    pooled = rows.unflatten(3, (2, 2)).mean(4)
    expected = norm(functional.conv2d(pooled, shortcut[1].weight), shortcut[2])
    torch.testing.assert_close(shortcut(x), expected)
    assert blocks.eval()(x).shape == (3, 8, 3, 2)


def test_shake_shake_shortcut_sees_two_grids() -> None:
    model = architecture("ShakeShake", CIFAR, depth=8, width=4)
    shortcut = filled(model.layers[1][0].shortcut)
    x = batch((4, 5, 6))
    moved = torch.zeros_like(x)
    moved[:, :, 1:, 1:] = x[:, :, :-1, :-1]
    paths = [
        functional.conv2d(x[:, :, ::2, ::2], shortcut.here.weight),
        functional.conv2d(moved[:, :, ::2, ::2], shortcut.moved.weight),
    ]
    torch.testing.assert_close(shortcut(x), norm(torch.cat(paths, 1), shortcut.norm))
    blocks = [one for layer in model.layers for one in layer][:-1]
    assert [one.shortcut is None for one in blocks] == [False] * 3
    kept = architecture("ShakeShake", CIFAR, depth=14, width=16).layers[0]
    assert [one.shortcut for one in kept] == [None, None]


def test_shake_shake_block_in_evaluation() -> None:
    block = filled(architecture("ShakeShake", CIFAR, depth=8, width=16).layers[0][0])
    x = batch((16, 4, 4))
    branches = []
    for first, middle, _, second, last in (block.first, block.second):
        h = norm(functional.conv2d(x.relu(), first.weight, padding=1), middle).relu()
        branches.append(norm(functional.conv2d(h, second.weight, padding=1), last))
    torch.testing.assert_close(block(x), x + (branches[0] + branches[1]) / 2)


@pytest.mark.parametrize("bottleneck", [False, True])
def test_pyramid_block(bottleneck: bool) -> None:
    settings = {"depth": 11 if bottleneck else 8, "alpha": 6, "shakedrop": 0.25}
    model = architecture("PyramidNet", CIFAR, bottleneck=bottleneck, **settings)
    block = filled(model.layers[1][0])
    before = 18 * (4 if bottleneck else 1)
    x = batch((before, 5, 5))
    h, parts = x, list(block.branch)
    for part in parts:
        if isinstance(part, nn.Conv2d):
            h = functional.conv2d(h, part.weight, stride=part.stride, padding=part.padding)
        else:
            h = norm(h, part) if isinstance(part, nn.BatchNorm2d) else h.relu()
    kinds = "".join(type(part).__name__[0] for part in parts)
    assert kinds == ("BCBRCBRCB" if bottleneck else "BCBRCB")
    strides = [part.stride[0] for part in parts if isinstance(part, nn.Conv2d)]
    assert strides == ([1, 2, 1] if bottleneck else [2, 1])
    shortcut = torch.zeros_like(h)
    shortcut[:, :before] = functional.avg_pool2d(x, 2, ceil_mode=True)
    # Block 2 of 3.
    torch.testing.assert_close(block(x), (1 - 0.25 * 2 / 3) * h + shortcut)


def test_pyramid_widens_by_equal_steps_and_disturbs_ever_more() -> None:
    with torch.device("meta"):
        model = architecture("PyramidNet", CIFAR, depth=272, alpha=200, bottleneck=True)
    blocks = [one for layer in model.layers for one in layer][:-1]
    widths = [one.branch[1].out_channels for one in blocks]
    # 16 + k 20 / 9
    assert widths[:9] == [18, 20, 23, 25, 27, 29, 32, 34, 36]
    assert widths[-1] == 216
    assert model.width == 864
    small = architecture("PyramidNet", CIFAR, depth=14, alpha=6)
    rates = [one.drop.p.item() for layer in small.layers for one in layer[:2]]
    assert rates == pytest.approx([0.5 * k / 6 for k in range(1, 7)])
    without = architecture("PyramidNet", CIFAR, depth=8, shakedrop=0)
    assert not any(isinstance(one, ShakeDrop) for one in without.modules())


def drawn(n: int, times: int) -> list[Tensor]:
    return [torch.rand(n, 1, 1, 1) for _ in range(times)]


HALF = torch.full((1, 1, 1, 1), 0.5)


@pytest.mark.parametrize("level", ["image", "batch"])
@pytest.mark.parametrize(
    "rule", ["shake-shake", "shake-even", "shake-keep", "even-shake", "even-even"]
)
def test_branches_are_mixed_with_other_numbers_backward(rule: str, level: str) -> None:
    mix = ShakeMix("even-even" if rule == "even-even" else f"{rule}-{level}")
    y, z, towards = (batch((2, 3, 3), 5, seed) for seed in (1, 2, 3))
    y.requires_grad_()
    z.requires_grad_()
    torch.manual_seed(4)
    found = mix(y, z)
    torch.manual_seed(4)
    ahead, back = rule.split("-")
    n = 5 if level == "image" else 1
    a = drawn(n, 1)[0] if ahead == "shake" else HALF
    b = drawn(n, 1)[0] if back == "shake" else a if back == "keep" else HALF
    torch.testing.assert_close(found, a * y + (1 - a) * z)
    for _ in range(2):
        # Every backward pass through one graph has the same number.
        for gradient, factor in zip(
            torch.autograd.grad(found, (y, z), towards, retain_graph=True), (b, 1 - b), strict=True
        ):
            torch.testing.assert_close(gradient, factor * towards)


@pytest.mark.parametrize("module", [ShakeMix("shake-shake-image"), ShakeDrop(0.25)])
def test_evaluation_draws_nothing(module: nn.Module) -> None:
    state = torch.get_rng_state()
    y, z = batch(), batch(seed=2)
    if isinstance(module, ShakeMix):
        torch.testing.assert_close(module.eval()(y, z), (y + z) / 2)
    else:
        torch.testing.assert_close(module.eval()(y), 0.75 * y)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("p", [0.0, 0.4, 1.0])
def test_disturbed_branch(p: float) -> None:
    drop = ShakeDrop(p)
    x, towards = batch((2, 3, 3), 5).requires_grad_(), batch((2, 3, 3), 5, 2)
    seen = set()
    for seed in range(20):
        torch.manual_seed(seed)
        found = drop(x)
        torch.manual_seed(seed)
        kept = bool(torch.rand(()) >= p)
        a, b = drawn(5, 2)
        torch.testing.assert_close(found, x if kept else (2 * a - 1) * x)
        for _ in range(2):
            (gradient,) = torch.autograd.grad(found, x, towards, retain_graph=True)
            torch.testing.assert_close(gradient, towards if kept else b * towards)
        seen.add(kept)
    assert seen == {0.0: {True}, 0.4: {True, False}, 1.0: {False}}[p]


def test_disturbed_branch_is_right_on_average() -> None:
    torch.manual_seed(0)
    drop = ShakeDrop(0.4)
    found = torch.stack([drop(torch.ones(1, 1, 1, 1)) for _ in range(4000)])
    # The standard error is 0.0096.
    assert float(found.mean()) == pytest.approx(0.6, abs=0.035)
    assert float((found == 1).float().mean()) == pytest.approx(0.6, abs=0.03)


def test_coefficients_under_second_derivatives_and_vmap() -> None:
    x = batch((2, 2, 2), 3).double().requires_grad_()
    a, b = torch.rand(2, 3, 1, 1, 1, generator=torch.Generator().manual_seed(0)).double()
    found = scaled(x, a, b)
    (first,) = torch.autograd.grad((found**2).sum(), x, create_graph=True)
    torch.testing.assert_close(first, 2 * b * a * x)
    (second,) = torch.autograd.grad(first.sum(), x)
    torch.testing.assert_close(second, (2 * b * b).expand_as(x))
    together = torch.func.vmap(scaled)(x, a, b)
    torch.testing.assert_close(together, scaled(x, a, b))
    slopes = torch.func.vmap(torch.func.grad(lambda one, *c: scaled(one, *c).sum()))(x, a, b)
    torch.testing.assert_close(slopes, b.expand_as(x))


@pytest.mark.parametrize(
    ("name", "shape", "settings", "size"),
    [
        ("ResNet18", (1, 95, 128), {}, (95, 128)),
        ("ResNet18", (1, 96, 100), {}, (24, 25)),
        ("ResNet18", (1, 96, 100), {"stem": "cifar"}, (96, 100)),
        ("ResNet50D", (2, 33, 20), {}, (33, 20)),
        ("ResNet50D", (2, 33, 20), {"stem": "imagenet"}, (9, 5)),
        ("PreActResNet18", (3, 8, 8), {}, (8, 8)),
        ("PreActResNet18", (3, 96, 96), {}, (24, 24)),
    ],
)
def test_stem_depends_on_the_images_size(
    name: str, shape: tuple[int, ...], settings: dict[str, Any], size: tuple[int, int]
) -> None:
    model = architecture(name, shape, channels=4, **settings).eval()
    found = model.stem(batch(shape, 1))
    assert found.shape == (1, 4, *size)
    assert model(batch(shape, 1)).shape == (1, 10)


@pytest.mark.parametrize(("side", "left"), [(32, 6), (12, 1), (11, 2), (8, 2), (4, 1)])
def test_what_all_conv_leaves(side: int, left: int) -> None:
    model = architecture("AllConv", (3, side, side), channels=[4, 8]).eval()
    x = batch((3, side, side), 1)
    assert model.layers(model.stem(x)).shape == (1, 8, left, left)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("PreActResNet18", {"channels": 4}),
        ("WideResNet", {"depth": 10}),
        ("PyramidNet", {"depth": 8}),
    ],
)
def test_smallest_images(name: str, settings: dict[str, Any]) -> None:
    model = architecture(name, (2, 1, 1), **settings).eval()
    assert model(batch((2, 1, 1), 2)).shape == (2, 10)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("ResNet18", {}),
        ("WideResNet", {"depth": 10, "widen": 4}),
        ("ResNeXt", {"depth": 11}),
        ("AllConv", {}),
    ],
)
def test_weights_start_with_the_variance_of_their_outputs(
    name: str, settings: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    model = architecture(name, CIFAR, **settings)
    found = [one for one in model.modules() if isinstance(one, nn.Conv2d)]
    for one in found:
        ratio = one.weight.detach().var() * one.kernel_size[0] ** 2 * one.out_channels / 2
        # Four standard errors of a variance.
        assert float(ratio) == pytest.approx(1, abs=4 * math.sqrt(2 / one.weight.numel()))
        assert one.bias is None or not one.bias.detach().any()
    assert len(found) >= 7


@pytest.mark.parametrize("name", ["ResNet18", "ResNet50", "ResNet50D"])
def test_blocks_start_as_their_shortcuts(name: str) -> None:
    model = architecture(name, CIFAR, channels=4, zero_residual=True)
    plain = architecture(name, CIFAR, channels=4)
    x = batch((model.layers[0][-1].conv1.in_channels, 4, 4)).relu()
    torch.testing.assert_close(model.layers[0][-1](x), x)
    assert not torch.allclose(plain.layers[0][-1](x), x, atol=0.1)


def test_one_rate_of_the_perceptron_is_after_its_first_layer() -> None:
    model, listed = (
        architecture("MLP", (1, 6), hidden=[4, 5], dropout=one) for one in (0.3, [0, 0.3, 0])
    )
    assert str(model) == str(listed)
    assert [one.p for one in model.modules() if isinstance(one, nn.Dropout)] == [0.3]
    assert isinstance(model.layers[0][2], nn.Dropout)
    # Checkpoints keep their names.
    assert [name for name in model.state_dict() if "normalise" not in name] == [
        *(f"layers.{i}.0.{what}" for i in (0, 1) for what in ("weight", "bias")),
        "head.weight",
        "head.bias",
    ]


def test_rates_of_the_perceptron_begin_with_the_input() -> None:
    model = architecture("MLP", (1, 6), **SERIES_BASELINE)
    assert [one.p for one in model.modules() if isinstance(one, nn.Dropout)] == [0.1, 0.2, 0.2, 0.3]
    seen: list[Tensor] = []
    model.layers[0][0].register_forward_hook(lambda _, given, __: seen.append(given[0]))
    x = torch.ones(4000, 1, 6)
    model.eval()(x)
    model.train()(x)
    evaluated, trained = seen
    dropped = trained == 0
    assert not (evaluated == 0).any()
    assert 0.08 < dropped.double().mean() < 0.12
    torch.testing.assert_close(trained[~dropped], evaluated[~dropped] / 0.9)


@pytest.mark.parametrize(
    ("settings", "least"),
    [
        ({}, 6),
        ({"padding": "same"}, 2),
        ({"pooling": "each"}, 10),
        ({"padding": "same", "pooling": "each"}, 4),
    ],
)
@pytest.mark.parametrize("hidden_in", ["trunk", "head"])
def test_conv_net_knows_its_number_of_features(
    settings: dict[str, Any], least: int, hidden_in: str
) -> None:
    for side in (least, least + 1, least + 7):
        model = architecture(
            "ConvNet", (2, least, side), channels=[2, 3], hidden=5, hidden_in=hidden_in, **settings
        ).eval()
        features = model.features(torch.rand(2, 2, least, side))
        assert features.shape == (2, model.width)
    with pytest.raises(SettingError, match=f"at least {least}x{least}"):
        architecture("ConvNet", (2, least, least - 1), **settings)


def test_the_hidden_layer_belongs_to_the_trunk_or_to_the_head() -> None:
    """The same function and the same start; only what an auxiliary task shares differs."""
    with torch.random.fork_rng(devices=[]):
        made = []
        for one in ("trunk", "head"):
            torch.manual_seed(0)
            made.append(architecture("ConvNet", (1, 8, 8), 3, hidden=5, hidden_in=one).eval())
    shared, own = made
    x = batch((1, 8, 8))
    with torch.no_grad():
        torch.testing.assert_close(own(x), shared(x))
        assert own.features(x).shape == (3, 64 * 2 * 2)
        assert shared.features(x).shape == (3, 5)
    assert len(shared.stages()) == 2
    assert len(own.stages()) == 1
    assert sum(one.numel() for one in own.head.parameters()) == 257 * 5 + 6 * 3
