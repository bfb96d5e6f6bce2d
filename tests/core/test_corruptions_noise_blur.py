"""Corruptions of noise and blur: closed forms, scipy, and the official loops written naively."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage, stats
from torch import Tensor

from trainables.core.augmentations._images import place
from trainables.core.corruptions import _blur, _poisson, defocus_blur, glass_blur
from trainables.core.corruptions._pixels import as_bytes
from trainables.core.corruptions.defocus_blur import DefocusBlur
from trainables.core.corruptions.gaussian_blur import GaussianBlur
from trainables.core.corruptions.glass_blur import GlassBlur
from trainables.core.corruptions.impulse_noise import ImpulseNoise
from trainables.core.corruptions.motion_blur import MotionBlur
from trainables.core.corruptions.shot_noise import ShotNoise
from trainables.core.corruptions.speckle_noise import SpeckleNoise
from trainables.core.corruptions.zoom_blur import ZoomBlur
from trainables.core.errors import SettingError
from trainables.core.randomness import ExampleStreams, Stream

NOISES = [ShotNoise, ImpulseNoise, SpeckleNoise]
BLURS = [GaussianBlur, GlassBlur, DefocusBlur, MotionBlur, ZoomBlur]
ALL = NOISES + BLURS
each = pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.label)
each_blur = pytest.mark.parametrize("kind", BLURS, ids=lambda kind: kind.label)
SEVERITIES = (1, 2, 3, 4, 5)


def images(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Random images of whole numbers of 0 to 255, as read from a file."""
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randint(256, shape, generator=generator).to(dtype) / 255


def smooth(*shape: int) -> Tensor:
    """Images with neighbouring pixels that are alike, as in photographs."""
    found = _blur.gaussian(images(*shape), 2)
    low, high = found.amin((2, 3), keepdim=True), found.amax((2, 3), keepdim=True)
    return as_bytes((found - low) / (high - low))


def within(found: float, expected: float, error: float) -> None:
    """At most four standard errors apart."""
    assert abs(found - expected) < 4 * error, (found, expected, error)


def same_bytes(found: Tensor, expected: np.ndarray[Any, Any]) -> None:
    """`expected`, cut off to whole numbers of 255, but where float32 lies on the other side."""
    difference = np.abs((found.double().numpy() * 255).round() - np.floor(expected * 255 + 1e-3))
    assert difference.max() <= 1
    assert difference.mean() < 1e-3


# --- all types -----------------------------------------------------------------------------------


@each
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 8, 8), (3, 5, 7), (1, 2, 3), (3, 90, 86)])
def test_keeps_form_and_gives_whole_numbers(kind: Any, shape: tuple[int, ...]) -> None:
    for dtype in (torch.float32, torch.float64):
        x = images(2, *shape, dtype=dtype)
        given = x.clone()
        for severity in SEVERITIES:
            found = kind()(x, severity, Stream(0))
            assert (found.shape, found.dtype) == (x.shape, dtype)
            assert torch.equal(as_bytes(found), found)
            assert 0 <= found.min() <= found.max() <= 1
        assert torch.equal(x, given)


@each
@pytest.mark.parametrize("severity", [0, 6, 2.5, True])
def test_refuses_other_severities(kind: Any, severity: Any) -> None:
    with pytest.raises(SettingError, match="severity must be a whole number from 1 to 5"):
        kind()(images(2, 3, 8, 8), severity, Stream(0))


@each
@pytest.mark.parametrize("shape", [(2, 2, 8, 8), (2, 3, 8), (2, 4, 8, 8)])
def test_refuses_what_is_no_image(kind: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(SettingError, match=f"{kind.__name__} needs images"):
        kind()(images(*shape), 1, Stream(0))


@each
@pytest.mark.parametrize("size", [16, 88])
def test_split_of_a_batch_is_irrelevant(kind: Any, size: int) -> None:
    x, index = images(5, 3, size, size), torch.arange(5)
    for severity in (1, 5):
        whole = kind()(x, severity, ExampleStreams(3, index))
        parts = [
            kind()(part, severity, ExampleStreams(3, numbers))
            for part, numbers in zip(x.split([1, 3, 1]), index.split([1, 3, 1]), strict=True)
        ]
        assert torch.equal(torch.cat(parts), whole)


@each
def test_is_the_same_for_a_seed_and_not_for_all_examples(kind: Any) -> None:
    x = smooth(1, 3, 16, 16).repeat(3, 1, 1, 1)
    first, again, other = (kind()(x, 4, Stream(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    random = kind not in (GaussianBlur, DefocusBlur, ZoomBlur)
    assert torch.equal(first, other) == (not random)
    assert torch.equal(first[0], first[1]) == (not random)


@each_blur
def test_grey_is_colour_with_equal_channels(kind: Any) -> None:
    grey = images(2, 1, 12, 12)
    colour = kind()(grey.repeat(1, 3, 1, 1), 5, Stream(7))
    assert torch.equal(colour, kind()(grey, 5, Stream(7)).expand_as(colour))


@each_blur
@pytest.mark.parametrize("size", [16, 86])
def test_blur_keeps_a_plain_colour(kind: Any, size: int) -> None:
    # All 256 whole numbers: cutting off must not make 99 of 99.9999.
    x = (torch.arange(256) / 255).view(-1, 1, 1, 1).expand(-1, 1, size, size)
    # The official large disks brighten.
    for severity in SEVERITIES if size == 16 else (3,):
        assert torch.equal(kind()(x, severity, Stream(0)), as_bytes(x))


@each
@pytest.mark.parametrize("size", [32, 96])
def test_change_grows_with_severity(kind: Any, size: int) -> None:
    x = smooth(8, 3, size, size)
    change = [float((kind()(x, one, Stream(5)) - x).abs().mean()) for one in SEVERITIES]
    if kind is GlassBlur:
        # Not all of its steps grow: (.4, 1, 1) is followed by (.25, 1, 2).
        assert 1.5 * change[0] < change[4]
    else:
        assert change == sorted(change)
        assert change[4] > 1.1 * change[0]


# --- noise ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [3, 50])
def test_tables_hold_the_exact_distributions(scale: float) -> None:
    table = _poisson._tables(scale, torch.device("cpu"))
    cells = table.shape[1]
    alias, keep = table.floor().long(), table - table.floor()
    found = keep.scatter_add(1, alias, 1 - keep) / cells
    mean = np.arange(1021)[:, None] / 1020 * scale
    expected = stats.poisson.pmf(np.arange(cells), mean)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)
    assert alias.max() < cells


@pytest.mark.parametrize("most", [0.5, 2.0, 4.0])
def test_small_counts_are_the_inverse_of_the_distribution(most: float) -> None:
    mean = torch.linspace(0, most, 20_000, dtype=torch.float64)
    found = _poisson._small(mean, most, Stream(3))
    uniform = Stream(3).uniform(mean)
    # ppf gives -1 for the probability 0 and the mean 0, where the number is 0.
    expected = stats.poisson.ppf(uniform.numpy(), mean.numpy()).clip(0)
    np.testing.assert_array_equal(found.numpy(), expected)


@pytest.mark.parametrize(("value", "scale"), [(0.7, 500), (0.4004, 75), (101 / 255, 12), (0.01, 3)])
def test_counts_have_poisson_frequencies(value: float, scale: float) -> None:
    found = _poisson.poisson(torch.full((20, 5000), value), scale, Stream(11))
    mean, size = value * scale, found.numel()
    within(float(found.mean()), mean, math.sqrt(mean / size))
    within(float(found.var()), mean, math.sqrt((mean + 2 * mean**2) / size))
    low, high = (int(stats.poisson.ppf(share, mean)) for share in (1e-3, 1 - 1e-3))
    cut = found.clamp(low, high).long() - low
    observed = torch.bincount(cut.flatten(), minlength=high - low + 1).numpy()
    expected = stats.poisson.pmf(np.arange(low, high + 1), mean)
    expected[0] = stats.poisson.cdf(low, mean)
    expected[-1] = stats.poisson.sf(high - 1, mean)
    # All seeds but one in a thousand would do.
    assert stats.chisquare(observed, expected * size).pvalue > 1e-3


def test_shot_noise_counts_photons() -> None:
    x = torch.full((100, 1, 32, 32), 0.5)
    found = ShotNoise()(x, 5, Stream(1))
    # Cutting down to whole numbers of 255 takes away half a step on the average.
    count = torch.round(found * 50 + 25 / 255)
    within(float(count.mean()), 25, math.sqrt(25 / x.numel()))
    assert torch.equal(as_bytes(count / 50), found)
    assert torch.equal(ShotNoise()(torch.zeros_like(x), 5, Stream(1)), torch.zeros_like(x))


@pytest.mark.parametrize("size", [32, 224])
def test_impulse_noise_is_half_salt_half_pepper(size: int) -> None:
    count = 102_400 // size**2
    x = torch.full((count, 3, size, size), 100 / 255)
    for severity, amount in zip(SEVERITIES, ImpulseNoise.amount[size], strict=True):
        found = ImpulseNoise()(x, severity, Stream(severity))
        error = math.sqrt(amount / 2 / x.numel())
        for value in (0, 1):
            within(float((found == value).double().mean()), amount / 2, error)
        assert set(found.unique().tolist()) == {0, float(x[0, 0, 0, 0]), 1}
        # Channels are hit independently: rarely all three.
        hit = (found != x).all(1).double().mean()
        within(float(hit), amount**3, math.sqrt(amount**3 / x[:, 0].numel()) + 1e-4)


def test_speckle_noise_is_proportional() -> None:
    x = torch.tensor([0, 0.25, 0.5]).view(3, 1, 1, 1).expand(3, 1, 84, 84)
    found = SpeckleNoise()(x, 2, Stream(2)).double().flatten(1)
    assert (found[0] == 0).all()
    for row, value in ((1, 0.25), (2, 0.5)):
        spread = 0.1 * value
        within(float(found[row].mean()), value - 0.5 / 255, spread / 84)
        within(float(found[row].std()), spread, spread / 84 / math.sqrt(2) + 1e-4)


# --- blur ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(32, 32), (20, 31), (90, 87)])
def test_gaussian_blur_is_scipys(size: tuple[int, int]) -> None:
    x = images(2, 3, *size)
    for severity in SEVERITIES:
        sigma = GaussianBlur.sigma[32 if size[0] < 85 else 224][severity - 1]
        expected = ndimage.gaussian_filter(
            x.double().numpy(), (0, 0, sigma, sigma), mode="nearest", truncate=4
        )
        found = _blur.gaussian(x.double(), sigma)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
        same_bytes(GaussianBlur()(x, severity, Stream(0)), expected)


def official_disk(radius: float, softness: float) -> np.ndarray[Any, Any]:
    """The disk on its square, blurred by the explicit Gaussian, in numpy."""
    half, reach = (8, 1) if radius <= 8 else (radius, 2)
    line = np.arange(-half, half + 1)
    disk = np.array(line[:, None] ** 2 + line**2 <= radius**2, dtype=np.float64)
    disk /= disk.sum()
    one = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * softness**2))
    weights = np.outer(one, one) / one.sum() ** 2
    wide = np.pad(disk, reach, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(wide, weights.shape)
    return np.asarray(np.einsum("ijkl,kl->ij", windows, weights))


@pytest.mark.parametrize("size", [32, 224])
def test_defocus_blur_is_the_official_kernel(size: int) -> None:
    x = images(1, 1, size // 2 + 10, size // 2 + 8)
    for severity, (radius, softness) in enumerate(DefocusBlur.disk[size], 1):
        kernel = official_disk(radius, softness)
        found = defocus_blur._kernel(radius, softness).numpy()
        margin = (len(kernel) - len(found)) // 2
        np.testing.assert_allclose(np.pad(found, margin), kernel, rtol=0, atol=1e-12)
        # "mirror" of scipy leaves the outermost pixel out, as the official border does.
        expected = ndimage.correlate(x[0, 0].double().numpy(), kernel, mode="mirror")
        blurred = defocus_blur._convolved(x.double(), torch.from_numpy(found))[0, 0]
        np.testing.assert_allclose(blurred, expected, rtol=0, atol=1e-12)
        same_bytes(DefocusBlur()(x, severity, Stream(0))[0, 0], expected.clip(0, 1))


def test_defocus_kernel_has_the_official_sums() -> None:
    for radius, softness in [*DefocusBlur.disk[32], *DefocusBlur.disk[224]]:
        # Printed by the official function with OpenCV: mirroring doubles weights at the edge.
        expected = {8: 1.0129755, 10: 1.0107858}.get(int(radius), 1.0)
        total = float(defocus_blur._kernel(radius, softness).sum())
        assert total == pytest.approx(expected, abs=1e-6)


def test_line_at_angle_0_and_90_by_hand() -> None:
    x = torch.zeros(3, 1, 9, 9, dtype=torch.float64)
    x[:, 0, 4, 4] = 1
    found = _blur.along_line(x, 1, 1, torch.tensor([0.0, 90.0, 180.0]))
    # exp(-i^2 / 2), i = 0, 1, 2, divided by their sum.
    weights = torch.tensor([1, 0.60653066, 0.13533528], dtype=torch.float64) / 1.74186594
    expected = torch.zeros_like(x)
    expected[0, 0, 4, [4, 3, 2]] = weights
    expected[1, 0, [4, 3, 2], 4] = weights
    expected[2, 0, 4, [4, 5, 6]] = weights
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-8)


def test_line_is_the_naive_sum() -> None:
    x, angle = images(6, 2, 7, 10, dtype=torch.float64), torch.linspace(-44, 300, 6)
    found = _blur.along_line(x, 3, 2.0, angle)
    weights = np.exp(-(np.arange(7) ** 2) / 8)
    for one, degrees in enumerate(angle.tolist()):
        expected = np.zeros((2, 7, 10))
        for i, weight in enumerate(weights / weights.sum()):
            down = math.ceil(i * math.sin(math.radians(degrees)) - 0.5)
            right = math.ceil(i * math.cos(math.radians(degrees)) - 0.5)
            rows = np.clip(np.arange(7) + down, 0, 6)
            columns = np.clip(np.arange(10) + right, 0, 9)
            expected += weight * x[one].numpy()[:, rows][:, :, columns]
        np.testing.assert_allclose(found[one], expected, rtol=0, atol=1e-8)


def test_motion_blur_rounds_and_turns_by_at_most_45_degrees() -> None:
    x = torch.zeros(200, 1, 31, 31)
    x[:, :, 15, 15] = 1
    found = MotionBlur()(x, 4, Stream(1))
    # Weights exp(-i^2 / 8) / sum; the pixel itself keeps 1 / 3.00663 = 84.81 of 255, rounded to 85.
    assert (found[:, 0, 15, 15] * 255).round().unique().tolist() == [85]
    rows, columns = (found[:, 0] > 0).nonzero()[:, 1:].T - 15
    assert (columns <= 0).all()
    assert (rows.abs() <= columns.abs()).all()
    assert rows.min() < 0 < rows.max()


@pytest.mark.parametrize("size", [32, 224])
def test_zoom_blur_has_the_official_factors(size: int) -> None:
    ranges = {
        32: [(1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)],
        224: [(1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)],
    }
    for (count, step), (stop, official) in zip(ZoomBlur.factors[size], ranges[size], strict=True):
        assert len(np.arange(1, stop, official)) == count
        assert [1 + i * ((1 + step) - 1) for i in range(count)] == list(np.arange(1, stop, step))


def official_zoom(x: np.ndarray[Any, Any], factors: np.ndarray[Any, Any]) -> Any:
    """The mean of x [h, h, c] and its enlargements by scipy, as in the official program."""
    total, height = x.copy(), len(x)
    for factor in factors:
        count = math.ceil(height / factor)
        top = (height - count) // 2
        part = x[top : top + count, top : top + count]
        part = ndimage.zoom(part, (factor, factor, 1), order=1)
        trim = (len(part) - height) // 2
        total += part[trim : trim + height, trim : trim + height]
    return total / (len(factors) + 1)


@pytest.mark.parametrize(
    ("size", "severity", "stop", "step"),
    [(32, 1, 1.06, 0.01), (32, 3, 1.16, 0.01), (32, 5, 1.26, 0.01), (224, 3, 1.21, 0.02)],
)
def test_zoom_blur_is_scipys(size: int, severity: int, stop: float, step: float) -> None:
    x = images(1, 3, size, size, dtype=torch.float64)
    expected = official_zoom(x[0].permute(1, 2, 0).numpy(), np.arange(1, stop, step))
    found = ZoomBlur()(x, severity, Stream(0))[0].permute(1, 2, 0)
    same_bytes(found, expected)


def test_zoom_of_a_ramp_by_hand() -> None:
    # 1.5 times 8: the middle 6 become 9, pixel i lies at 1 + 5 i / 8, and the first 8 stay.
    x = torch.arange(8.0).expand(1, 1, 8, 8)
    found = _blur.zoomed(x, 1.5)
    torch.testing.assert_close(found, (1 + 5 / 8 * torch.arange(8)).expand(1, 1, 8, 8))


def naive_origin(
    height: int, width: int, reach: int, offsets: Tensor, exchange: bool
) -> np.ndarray[Any, Any]:
    """The official loop over the pixels of one image on the numbers of the pixels."""
    origin = np.arange(height * width).reshape(height, width)
    for one in offsets.numpy():
        for h in range(height - reach, reach, -1):
            for w in range(width - reach, reach, -1):
                dx, dy = one[:, h, w]
                here, there = origin[h, w], origin[h + dy, w + dx]
                origin[h, w] = there
                if exchange:
                    origin[h + dy, w + dx] = here
    return origin.ravel()


@pytest.mark.parametrize("exchange", [False, True])
@pytest.mark.parametrize(("reach", "rounds"), [(1, 1), (1, 2), (2, 1), (4, 2)])
@pytest.mark.parametrize("shape", [(9, 13), (14, 9)])
def test_groups_of_pixels_are_the_official_order(
    shape: tuple[int, int], reach: int, rounds: int, exchange: bool
) -> None:
    x = images(3, 1, *shape)
    found = glass_blur._displaced(x, reach, rounds, Stream(4), exchange)
    uniform = Stream(4).uniform(x.new_empty(3, rounds, 2, *shape))
    offsets = place(uniform, 2 * reach) - reach
    for one in range(3):
        expected = naive_origin(*shape, reach, offsets[one], exchange)
        np.testing.assert_array_equal(found[one], expected)


def test_glass_blur_does_what_the_official_assignment_does() -> None:
    # On colours the official line copies: both sides of the assignment are views of one array.
    x = images(1, 3, 32, 32)
    severity, sigma = 5, 0.4
    offsets = place(Stream(8).uniform(x.new_empty(1, 2, 2, 32, 32)), 2)[0].numpy() - 1
    pixels = x[0].permute(1, 2, 0).double().numpy()
    blur = (sigma, sigma, 0)
    blurred = ndimage.gaussian_filter(pixels, blur, mode="nearest", truncate=4)
    image = np.floor(blurred * 255 + 1e-3).astype(np.uint8)
    for one in offsets:
        for h in range(31, 1, -1):
            for w in range(31, 1, -1):
                dx, dy = one[:, h, w]
                image[h, w], image[h + dy, w + dx] = image[h + dy, w + dx], image[h, w]
    expected = ndimage.gaussian_filter(image / 255.0, blur, mode="nearest", truncate=4)
    same_bytes(GlassBlur()(x, severity, Stream(8))[0].permute(1, 2, 0), expected)


def test_exchanged_pixels_are_a_permutation_and_copied_ones_are_not() -> None:
    x = images(4, 1, 32, 32)
    whole = torch.arange(32 * 32)
    exchanged = glass_blur._displaced(x, 1, 2, Stream(0), True)
    assert torch.equal(exchanged.sort(1).values, whole.expand(4, -1))
    copied = glass_blur._displaced(x, 1, 2, Stream(0), False)
    assert all(len(one.unique()) < 900 for one in copied)
    # A copy comes from the pixels up to two rows and columns before, an exchange carries further.
    moved = [(one // 32 - whole // 32).abs().max() for one in (copied, exchanged)]
    assert moved[0] == 2 < moved[1]


def test_exchange_must_be_true_or_false() -> None:
    with pytest.raises(SettingError, match="exchange must be true or false"):
        GlassBlur(exchange="no")  # type: ignore[arg-type]
