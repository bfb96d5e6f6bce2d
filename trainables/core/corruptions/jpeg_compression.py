"""The loss of JPEG files."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from torch import Tensor, nn

from ..randomness import Draws
from ._bytes import from_bytes, to_whole
from ._pixels import level


class JpegCompression(nn.Module):
    """Images written as JPEG files and read again (arXiv 1903.12261).

    By Pillow with its usual colour subsampling (4:2:0), image by image on the CPU. The quality by
    severity is 80 65 58 50 40 for small images and 25 18 15 10 7 for large ones. Raises
    `SettingError` for inputs that are no images of 1 or 3 channels.
    """

    label = "jpeg_compression"
    group = "digital"
    quality = {32: (80, 65, 58, 50, 40), 224: (25, 18, 15, 10, 7)}

    def forward(self, x: Tensor, severity: int, draws: Draws) -> Tensor:
        """x [b, 1 or 3, h, w], corrupted; nothing is drawn."""
        quality = level("JpegCompression", self.quality, x, severity)
        whole = to_whole(x).to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu()
        # One channel gives what three equal ones would: their chroma is flat and costs nothing.
        images = (whole.squeeze(3) if x.shape[1] == 1 else whole).numpy()
        read = torch.from_numpy(np.stack([_read(one, quality) for one in images]))
        return from_bytes(read.view(whole.shape).permute(0, 3, 1, 2), x)


def _read(image: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    file.seek(0)
    return np.asarray(JpegImageFile(file))
