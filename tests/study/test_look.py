"""Contact sheets: one row for every view, and errors for what cannot be shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from study.cli import app
from study.look import sheet
from trainables.core.errors import SettingError


def height(path: Path) -> int:
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("L"))
    assert pixels.std() > 5  # not blank
    return int(pixels.shape[0])


def test_a_row_for_every_view(tmp_path: Path) -> None:
    one = sheet(["gaussian_0.1"], "Digits", tmp_path / "a.png", examples=3)
    three = sheet(["gaussian_0.1", "fog_3", "AugMix"], "Digits", tmp_path / "b.png", examples=3)
    assert height(three) > 1.7 * height(one)


def test_a_corruption_shows_its_severities_and_series_have_their_own(
    tmp_path: Path, small_root: Path
) -> None:
    sheet(["fog"], "Digits", tmp_path / "fog.png")
    height(tmp_path / "fog.png")
    data = {"name": "UCR", "dataset": "Waves"}
    found = sheet(
        ["corruptions"], data, tmp_path / "deep" / "series.png", data_root=str(small_root)
    )
    assert height(found) > 800  # seven types and the clean row


@pytest.mark.parametrize(
    ("view", "message"),
    [
        ("fog_6", "severity must be a whole number from 1 to 5"),
        ("fgo_3", "Unknown view 'fgo_3'"),
        ("PGD", "PGD needs more than an example"),
    ],
)
def test_what_cannot_be_shown(tmp_path: Path, view: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        sheet([view], "Digits", tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


def test_the_command(tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    found = CliRunner().invoke(app, ["look", "fog_1", "--data", "Digits", "--out", str(out)])
    assert (found.exit_code, found.stdout.strip()) == (0, str(out))
    assert height(out) > 100
