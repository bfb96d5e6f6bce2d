"""Weather, digital and extra corruptions against Pillow, SciPy and hand-computed values."""

from __future__ import annotations

import colorsys
import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.ndimage
import torch
from PIL import Image
from torch import Tensor

from trainables.core import catalog
from trainables.core.corruptions._outlines import distances, edges, equalised
from trainables.core.corruptions._texture import fractal
from trainables.core.corruptions.elastic_transform import _affine, _displaced, _smooth
from trainables.core.errors import MissingDataError, SettingError
from trainables.core.randomness import ExampleStreams, Stream

RANDOM = ["ElasticTransform", "Fog", "Frost", "Snow", "Spatter"]
FIXED = ["Brightness", "Contrast", "JpegCompression", "Pixelate", "Saturate"]
NAMES = RANDOM + FIXED


class Given:
    """The same number of U[0, 1) everywhere."""

    def __init__(self, number: float) -> None:
        self.number = number

    def uniform(self, like: Tensor) -> Tensor:
        return torch.full_like(like, self.number)


def corruption(name: str, **settings: Any) -> Any:
    return catalog.build("corruptions", {"name": name} | settings)


def images(count: int = 4, channels: int = 3, side: int = 32, seed: int = 0) -> Tensor:
    """Smooth colour images in k/255."""
    rough = torch.rand(count, channels, 6, 6, generator=torch.Generator().manual_seed(seed))
    smooth = torch.nn.functional.interpolate(rough, size=side, mode="bilinear")
    return (smooth * 255).round() / 255


def bytes_of(x: Tensor) -> Tensor:
    return (x * 255).round().int()


def of_byte(value: float) -> int:
    return math.floor(min(max(value, 0), 1) * 255 + 1e-6)


def pixels(*colours: tuple[float, float, float]) -> Tensor:
    """An image [1, 3, 1, n]."""
    return torch.tensor(colours).T.reshape(1, 3, 1, -1)


# --- all ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("severity", [1, 5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_results_are_bytes_whatever_the_batch(name: str, severity: int, dtype: torch.dtype) -> None:
    x, corrupt = images(5).to(dtype), corruption(name)
    given, index = x.clone(), torch.tensor([3, 14, 15, 92, 65])
    whole = corrupt(x, severity, ExampleStreams(7, index))
    assert torch.equal(x, given)
    assert whole.shape == x.shape
    assert whole.dtype == dtype
    assert torch.equal(bytes_of(whole).to(dtype) / 255, whole)
    assert whole.min() >= 0
    assert whole.max() <= 1
    parts = [
        corrupt(x[one], severity, ExampleStreams(7, index[one]))
        for one in (slice(0, 1), slice(1, 5))
    ]
    assert torch.equal(torch.cat(parts), whole)
    assert not torch.equal(whole, x)


@pytest.mark.parametrize("name", RANDOM)
def test_examples_and_seeds_differ(name: str) -> None:
    corrupt, x = corruption(name), images(1).expand(2, -1, -1, -1)
    found = corrupt(x, 4, ExampleStreams(0, torch.tensor([0, 1])))
    assert not torch.equal(found[0], found[1])
    other = corrupt(x, 4, ExampleStreams(1, torch.tensor([0, 1])))
    assert not torch.equal(found[0], other[0])
    again = corrupt(x, 4, ExampleStreams(0, torch.tensor([0, 1])))
    assert torch.equal(found, again)


@pytest.mark.parametrize("name", NAMES)
def test_grey_images_are_three_equal_channels(name: str) -> None:
    corrupt, x = corruption(name), images(3, channels=1)
    found = corrupt(x, 4, Stream(0))
    colour = corrupt(x.expand(-1, 3, -1, -1), 4, Stream(0))
    assert found.shape == x.shape
    luma = (colour * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    # A luma of bytes is cut off once more.
    assert (found - luma).abs().max() < 1.01 / 255


@pytest.mark.parametrize("name", NAMES)
def test_what_is_refused(name: str) -> None:
    corrupt = corruption(name)
    for severity in (0, 6, True, 2.5):
        with pytest.raises(SettingError, match="severity must be"):
            corrupt(images(), severity, Stream(0))
    with pytest.raises(SettingError, match=f"{name} needs images of 1 or 3 channels"):
        corrupt(torch.zeros(1, 2, 8, 8), 1, Stream(0))
    with pytest.raises(SettingError, match=f"{name} needs images"):
        corrupt(torch.zeros(1, 3, 50), 1, Stream(0))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(8, 8), (28, 40), (90, 100)])
def test_other_sizes(name: str, shape: tuple[int, int]) -> None:
    x = torch.rand(2, 3, *shape, generator=torch.Generator().manual_seed(0))
    found = corruption(name)(x, 3, Stream(0))
    assert found.shape == x.shape
    assert torch.isfinite(found).all()


@pytest.mark.parametrize("name", ["Brightness", "Contrast", "Fog", "Frost", "Pixelate", "Snow"])
def test_higher_severity_changes_more(name: str) -> None:
    x = images(32)
    change = [(corruption(name)(x, one, Stream(0)) - x).abs().mean() for one in (1, 5)]
    assert change[1] > 1.2 * change[0]


@pytest.mark.parametrize("name", RANDOM + FIXED)
def test_official_names(name: str) -> None:
    found = catalog.find("corruptions", name)
    snake = "".join("_" + one.lower() if one.isupper() else one for one in name).lstrip("_")
    assert found.label == snake
    weather = {"Snow", "Frost", "Fog", "Brightness"}
    extra = {"Spatter", "Saturate"}
    wanted = "weather" if name in weather else "extra" if name in extra else "digital"
    assert found.group == wanted
    assert getattr(found, "moves", False) == (name == "ElasticTransform")


# --- colours ------------------------------------------------------------------------------------


@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_brightness_and_saturate_against_hsv(severity: int) -> None:
    generator = torch.Generator().manual_seed(severity)
    x = torch.randint(0, 256, (1, 3, 8, 8), generator=generator).float() / 255
    x[0, :, 0, :4] = x[0, :1, 0, :4]  # grey pixels
    x[0, :, 1, 0] = 0
    found = {name: corruption(name)(x, severity, Stream(0)) for name in ("Brightness", "Saturate")}
    added = corruption("Brightness").added[32][severity - 1]
    scale, shift = corruption("Saturate").change[32][severity - 1]
    for row in range(8):
        for column in range(8):
            h, s, v = colorsys.rgb_to_hsv(*x[0, :, row, column].double().tolist())
            wanted = {
                "Brightness": colorsys.hsv_to_rgb(h, s, min(v + added, 1)),
                "Saturate": colorsys.hsv_to_rgb(h, min(s * scale + shift, 1), v),
            }
            for name, colour in wanted.items():
                here = bytes_of(found[name])[0, :, row, column].tolist()
                exact = [255 * one for one in colour]
                # Cut off, which may fall on either side of a whole number.
                for one, real in zip(here, exact, strict=True):
                    assert math.floor(real - 2e-3) <= one <= math.floor(real + 2e-3)


def test_brightness_by_hand() -> None:
    x = pixels((0.2, 0.4, 0.1), (0.0, 0.0, 0.0), (0.9, 0.45, 0.0))
    found = bytes_of(corruption("Brightness")(x, 4, Stream(0)))[0, :, 0].T.tolist()
    # Values .4 -> .6, 0 -> .2 and .9 -> 1.
    assert found == [
        [of_byte(0.3), of_byte(0.6), of_byte(0.15)],
        [51, 51, 51],
        [255, of_byte(0.5), 0],
    ]


def test_saturate_by_hand() -> None:
    x = pixels((0.8, 0.4, 0.6), (0.5, 0.5, 0.5), (0.0, 0.0, 0.0))
    paler = bytes_of(corruption("Saturate")(x, 1, Stream(0)))[0, :, 0].T.tolist()
    # S = .5 -> .15: .8 - .4 x .3 and .8 - .2 x .3; grey stays.
    assert paler == [[204, of_byte(0.68), of_byte(0.74)], [127] * 3, [0] * 3]
    strong = bytes_of(corruption("Saturate")(x, 4, Stream(0)))[0, :, 0].T.tolist()
    # S = .5 -> 1, and grey with S = 0 -> .1 turns red: .5 x .9.
    assert strong == [[204, 0, of_byte(0.4)], [127, of_byte(0.45), of_byte(0.45)], [0] * 3]


def test_contrast_by_hand() -> None:
    x = pixels((0.2, 0.0, 1.0), (0.6, 0.5, 1.0))
    found = bytes_of(corruption("Contrast")(x, 2, Stream(0)))[0, :, 0].T.tolist()
    # Means .4, .25 and 1; half the distances stay.
    assert found == [[of_byte(0.3), of_byte(0.125), 255], [of_byte(0.5), of_byte(0.375), 255]]


# --- Pillow's operations --------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(32, 32), (28, 41), (224, 224), (100, 233)])
@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_pixelate_is_pillows(shape: tuple[int, int], severity: int) -> None:
    x = torch.randint(0, 256, (2, 3, *shape), generator=torch.Generator().manual_seed(1)) / 255
    corrupt = corruption("Pixelate")
    kept = corrupt.kept[32 if shape[0] < 85 else 224][severity - 1]
    found = bytes_of(corrupt(x, severity, Stream(0))).permute(0, 2, 3, 1).numpy()
    for image, ours in zip(bytes_of(x), found, strict=True):
        picture = Image.fromarray(image.permute(1, 2, 0).byte().numpy())
        small = int(shape[1] * kept), int(shape[0] * kept)
        for wanted in (small, shape[::-1]):
            picture = picture.resize(wanted, Image.Resampling.BOX)
        assert np.array_equal(ours, np.array(picture))


def test_pixelate_by_hand() -> None:
    # Five columns become int(5 x .65) = 3 boxes of 1 or 2 pixels; their middles lie in 0, 2 and 4.
    x = torch.tensor([0.0, 10, 21, 30, 40]).expand(1, 1, 5, 5) / 255
    found = bytes_of(corruption("Pixelate")(x, 5, Stream(0)))[0, 0, 0].tolist()
    picture = Image.fromarray(bytes_of(x)[0, 0].byte().numpy())
    small = np.array(picture.resize((3, 3), Image.Resampling.BOX))[0].tolist()
    # 0 to 1.67, 1.67 to 3.33, 3.33 to 5: half pixels count whole where their centre is within.
    assert small == [5, 21, 35]
    assert found == [5, 5, 21, 35, 35]


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_pillows(channels: int) -> None:
    x = images(2, channels)
    found = bytes_of(corruption("JpegCompression")(x, 3, Stream(0)))
    for image, ours in zip(bytes_of(x).byte(), found, strict=True):
        file = io.BytesIO()
        picture = Image.fromarray(image.expand(3, -1, -1).permute(1, 2, 0).numpy())
        picture.save(file, "JPEG", quality=58)
        theirs = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)
        assert torch.equal(ours, theirs[:channels].int())


# --- fog ------------------------------------------------------------------------------------------


def naive_fractal(uniform: Any, side: int, decay: float) -> Any:
    """Point by point, on a torus."""
    numbers, height = iter(uniform), np.zeros((side, side))
    step, wobble = side, 1.0
    while step > 1:
        half = step // 2

        def midpoint(r: int, c: int, around: list[tuple[int, int]], wobble: float) -> None:
            mean = sum(height[(r + dr) % side, (c + dc) % side] for dr, dc in around) / 4
            height[r, c] = mean + wobble**2 * (2 * next(numbers) - 1)

        square = [(-half, -half), (-half, half), (half, -half), (half, half)]
        diamond = [(-half, 0), (half, 0), (0, -half), (0, half)]
        for first, around in [((half, half), square), ((0, half), diamond), ((half, 0), diamond)]:
            for r in range(first[0], side, step):
                for c in range(first[1], side, step):
                    midpoint(r, c, around, wobble)
        step, wobble = half, wobble / decay
    height -= height.min()
    return height / height.max()


@pytest.mark.parametrize("decay", [1.4, 3.0])
def test_fractal_against_one_made_point_by_point(decay: float) -> None:
    uniform = torch.rand(2, 255, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    found = fractal(uniform, 16, decay)
    for one, row in zip(found, uniform, strict=True):
        np.testing.assert_allclose(one.numpy(), naive_fractal(row.numpy(), 16, decay), atol=1e-12)


def test_fractals_are_symmetric_and_smoother_as_decay_rises() -> None:
    uniform = torch.rand(400, 1023, generator=torch.Generator().manual_seed(0))
    rough = []
    for decay in (1.5, 2.0, 3.0):
        found = fractal(uniform, 32, decay)
        assert torch.equal(found.amin((1, 2)), torch.zeros(400))
        assert torch.equal(found.amax((1, 2)), torch.ones(400))
        mean = found.mean((1, 2))
        assert abs(mean.mean() - 0.5) < 4 * mean.std() / 400**0.5
        rough.append((found.diff(dim=1).abs().mean() / found.std()).item())
    assert rough[0] > 1.05 * rough[1] > 1.05**2 * rough[2]


def test_fog_keeps_the_largest_number_as_a_bound() -> None:
    x = 0.6 * images(8)
    for severity in (1, 5):
        found = corruption("Fog")(x, severity, Stream(0))
        assert (found.amax((1, 2, 3)) <= x.amax((1, 2, 3))).all()
    assert not corruption("Fog")(torch.zeros(1, 3, 32, 32), 5, Stream(0)).any()


def test_fog_by_hand() -> None:
    # x = top everywhere: (top + c m) top / (top + c) for a cloud m.
    found = corruption("Fog")(torch.full((1, 1, 32, 32), 0.5), 4, Stream(0))
    cloud = fractal(torch.rand(1, 1023, generator=torch.Generator().manual_seed(0)), 32, 2.0)
    wanted = ((0.5 + cloud) * 0.5 / 1.5 * 255 + 1e-3).floor()
    assert (bytes_of(found)[0] - wanted.int()).abs().max() <= 1
    assert (bytes_of(found)[0] == wanted.int()).float().mean() > 0.99


# --- elastic --------------------------------------------------------------------------------------


def test_elastic_steps_that_move_nothing() -> None:
    x = images(2)
    assert torch.equal(_affine(x, torch.zeros(2, 3, 2)), x)
    assert torch.equal(_displaced(x, torch.zeros(2, 2, 32, 32)), x)
    # U(-1, 1) is 0 in the middle of U[0, 1).
    assert torch.equal(corruption("ElasticTransform")(x, 3, Given(0.5)), x)


def test_elastic_smoothing_is_scipys() -> None:
    field = torch.rand(1, 2, 12, 9, generator=torch.Generator().manual_seed(0)).double() - 0.5
    for sigma in (0.6, 2.0, 9.0):  # the last is wider than the field
        found = _smooth(field, sigma)
        for one in (0, 1):
            wanted = scipy.ndimage.gaussian_filter(
                field[0, one].numpy(), sigma, mode="reflect", truncate=3
            )
            np.testing.assert_allclose(found[0, one].numpy(), wanted, atol=1e-12)
        assert found.abs().max() <= field.abs().max()


def test_elastic_displacement_is_scipys() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(2, 3, 10, 14, generator=generator).double()
    field = 9 * torch.rand(2, 2, 10, 14, generator=generator).double() - 4.5
    found = _displaced(x, field)
    rows, columns = np.meshgrid(np.arange(10), np.arange(14), indexing="ij")
    for image, move, ours in zip(x.numpy(), field.numpy(), found.numpy(), strict=True):
        places = rows + move[1], columns + move[0]
        for channel in range(3):
            wanted = scipy.ndimage.map_coordinates(image[channel], places, order=1, mode="reflect")
            np.testing.assert_allclose(ours[channel], wanted, atol=1e-12)


def test_elastic_affine_map_is_scipys() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(1, 1, 15, 15, generator=generator).double()
    moved = 3 * torch.rand(1, 3, 2, generator=generator).double() - 1.5
    given = np.array([[7 + 5, 7 + 5], [7 + 5, 7 - 5], [7 - 5, 7 - 5]], dtype=float)
    # [x', y'] = matrix [x, y, 1] takes the corners to where they moved; the image looks back.
    matrix = np.linalg.solve(np.c_[given, np.ones(3)], given + moved[0].numpy()).T
    back = np.linalg.inv(np.r_[matrix, [[0, 0, 1]]])
    rows, columns = np.meshgrid(np.arange(15), np.arange(15), indexing="ij")
    places = np.tensordot(back, np.stack([columns, rows, np.ones_like(rows)]), 1)
    wanted = scipy.ndimage.map_coordinates(
        x[0, 0].numpy(), (places[1], places[0]), order=1, mode="mirror"
    )
    np.testing.assert_allclose(_affine(x, moved)[0, 0].numpy(), wanted, atol=1e-10)


def test_elastic_shift_by_hand() -> None:
    x = images(1)
    # All corners 2 to the right and 1 down: so goes the image.
    found = _affine(x, torch.tensor([2.0, 1.0]).expand(1, 3, 2))
    assert torch.allclose(found[..., 1:, 2:], x[..., :-1, :-2], atol=1e-6)
    # Mirrored about the outermost pixel: places -1 and -2 are those of 1 and 2.
    assert torch.allclose(found[..., 1:, 1], x[..., :-1, 1], atol=1e-6)
    assert torch.allclose(found[..., 1:, 0], x[..., :-1, 2], atol=1e-6)


def test_elastic_corners_on_one_line_leave_numbers() -> None:
    moved = torch.tensor([[-10.0, -10.0], [-10.0, 10.0], [10.0, 10.0]]).unsqueeze(0)
    assert torch.isfinite(_affine(images(1), moved)).all()


# --- snow and frost -------------------------------------------------------------------------------


def test_snow_brightens_and_whitens() -> None:
    x = images(16)
    for severity in (1, 3, 5):
        found = corruption("Snow")(x, severity, Stream(0))
        assert (found >= x - 1.01 / 255).all()
    # A white image has nothing to gain; a black one gets (1 - mix) / 2 and flakes.
    white = torch.ones(2, 3, 32, 32)
    assert torch.equal(corruption("Snow")(white, 3, Stream(0)), white)
    black = bytes_of(corruption("Snow")(torch.zeros(64, 3, 32, 32), 2, Stream(0)))
    assert black.min() == of_byte(0.1 * 0.5)
    # Flakes fall the same way seen upside down.
    assert torch.equal(black, black.flip(2, 3))


def test_snow_falls_down() -> None:
    found = corruption("Snow")(torch.zeros(64, 1, 32, 32), 1, Stream(0))
    down = found.diff(dim=2).abs().mean()
    assert found.diff(dim=3).abs().mean() > 1.5 * down


def test_frost_is_like_the_photographs_in_the_large() -> None:
    # On black, 0.2 of the texture is left.
    texture = corruption("Frost")(torch.zeros(300, 3, 32, 32), 1, Stream(0)) / 0.2
    red, green, blue = texture.mean((0, 2, 3)).tolist()
    assert red < green < blue
    assert abs((red + green + blue) / 3 - 0.64) < 0.03
    within = texture.mean(1).std((1, 2)).mean()
    assert 0.06 < within < 0.15
    assert catalog.find("corruptions", "Frost").generated_texture


def test_frost_from_pictures(tmp_path: Path) -> None:
    for name, colour in [("a.png", (255, 0, 0)), ("b.png", (0, 255, 0))]:
        Image.new("RGB", (300, 250), colour).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    corrupt = corruption("Frost", textures=str(tmp_path))
    assert not corrupt.generated_texture
    found = bytes_of(corrupt(torch.zeros(40, 3, 32, 32), 4, Stream(0)))
    kinds = {tuple(one.amax((1, 2)).tolist()) for one in found}
    assert kinds == {(102, 0, 0), (0, 102, 0)}
    assert torch.equal(found.amax((2, 3)), found.amin((2, 3)))


def test_frost_cuts_parts_out_of_pictures(tmp_path: Path) -> None:
    ramp = np.add.outer(np.arange(120), np.arange(130)).astype(np.uint8)
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    x = torch.zeros(20, 3, 100, 100)
    found = corruption("Frost", textures=str(tmp_path))(x, 1, Stream(0))
    steps = (found[:, 0] / 0.4 * 255).round()
    # Wherever the part begins, it rises by one from pixel to pixel.
    assert abs((steps[:, -1, -1] - steps[:, 0, 0]).mean() - 198) < 3
    assert len(set(steps[:, 0, 0].tolist())) > 5
    # Pictures that are too small are mirrored.
    small = corruption("Frost", textures=str(tmp_path))(torch.zeros(1, 3, 200, 200), 1, Stream(0))
    assert torch.equal(small[..., 120:, :], small[..., 40:120, :].flip(2))


def test_frost_needs_pictures(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="textures must be a folder of PNG or JPEG"):
        corruption("Frost", textures=str(tmp_path))


# --- spatter --------------------------------------------------------------------------------------


def test_distances_are_shortest_ways() -> None:
    edge = torch.rand(3, 17, 23, generator=torch.Generator().manual_seed(0)) < 0.02
    found = distances(edge, 20.0)
    rows, columns = torch.meshgrid(torch.arange(17), torch.arange(23), indexing="ij")
    for one, ours in zip(edge, found, strict=True):
        places = one.nonzero()
        down = (rows[..., None] - places[:, 0]).abs()
        right = (columns[..., None] - places[:, 1]).abs()
        long, short = torch.maximum(down, right), torch.minimum(down, right)
        # Knight's moves with straight steps, or with diagonal ones.
        flat = 2.1969 * short + (long - 2 * short)
        steep = 2.1969 * (long - short) + 1.4 * (2 * short - long)
        wanted = torch.where(long >= 2 * short, flat, steep).amin(-1).clamp(max=20)
        torch.testing.assert_close(ours, wanted, atol=1e-4, rtol=0)
    assert torch.equal(distances(torch.zeros(1, 4, 4).bool(), 20.0), torch.full((1, 4, 4), 20.0))


def test_edges_of_a_square() -> None:
    x = torch.zeros(1, 12, 12)
    x[:, 4:8, 4:8] = 200
    found = edges(x, 50, 150, reach=4)[0]
    # A step between two pixels has equal slopes on both: the first one, from above or left, counts.
    assert found[3, 5:7].all() and found[5:7, 3].all()
    assert found[7, 5:7].all() and found[5:7, 7].all()
    assert not found[5:7, 5:7].any() and not found[:3].any() and not found[9:].any()


def test_weak_edges_need_a_strong_one_near_by() -> None:
    # An upright edge whose height falls from 50 to 14: slopes 200 to 56.
    x = torch.zeros(1, 20, 8)
    x[:, :, 4:] = torch.linspace(50, 14, 20)[:, None]
    counts = [int(edges(x, 50, 150, reach=one).sum()) for one in (0, 3, 20)]
    assert counts[0] < counts[1] == counts[0] + 3 < counts[2]
    assert not edges(x / 2, 50, 150, reach=20).any()


def test_equal_histogram_by_hand() -> None:
    x = torch.tensor([[[1.0, 1, 2], [2, 2, 5]], [[4.0, 4, 4], [4, 4, 4]]])
    # Four pixels above the lowest number: 3 of them up to 2, 4 up to 5.
    wanted = torch.tensor([[[0.0, 0, 191], [191, 191, 255]], [[4.0, 4, 4], [4, 4, 4]]])
    assert torch.equal(equalised(x, 21), wanted)


def test_spatter_without_liquid_changes_nothing() -> None:
    class Dry:
        def normal(self, like: Tensor) -> Tensor:
            return torch.full_like(like, -9.0)

    x = images(2)
    for severity in (1, 2, 3, 4, 5):
        assert torch.equal(corruption("Spatter")(x, severity, Dry()), x)


def test_spatter_of_water_and_mud() -> None:
    black = torch.zeros(32, 3, 32, 32)
    for severity in (1, 2, 3):
        water = corruption("Spatter")(black, severity, Stream(0))
        # The highest drop of each image is turquoise times the strength.
        top = bytes_of(water).amax((2, 3))
        assert set(map(tuple, top.tolist())) == {(87, 119, 119)}
        assert (water.amax(1) > 0).float().mean() < 0.3
    white = torch.ones(32, 3, 32, 32)
    for severity in (4, 5):
        mud = bytes_of(corruption("Spatter")(white, severity, Stream(0)))
        covered = mud[:, 0] < 255
        assert 0.005 < covered.float().mean() < 0.4
        assert mud.amin((0, 2, 3)).tolist() == pytest.approx([63, 42, 20], abs=1)
        # Where the cover is below 0.8 there is none.
        assert mud[:, 0][covered].max() <= of_byte(1 - 0.8 * (1 - 63 / 255)) + 1
