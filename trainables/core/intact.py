"""Whether a checkpoint is whole: torch reads a file with flipped bits without a word.

Of 1,500 single bits flipped at random in a checkpoint, `torch.load` noticed 10. `torch.save` writes
a zip file with a checksum of every part, so no second file is needed to tell: they only have to be
compared.
"""

from __future__ import annotations

import errno
import zipfile
import zlib
from pathlib import Path

import torch

# What every version of a checkpoint has.
KEYS = frozenset({"version", "recipe", "done", "model", "objective", "optimizer", "reports"})


def problem(path: Path) -> str:
    """What is wrong with the checkpoint in `path`, in words; "" for a whole one.

    A file that is torn, cut off, has other bytes than were written or is no checkpoint of a
    training is told; whether it fits a recipe is not looked at. Raises `OSError` where the file may
    be sound and only cannot be reached.
    """
    try:
        with zipfile.ZipFile(path) as file:
            broken = file.testzip()
        if broken is not None:
            return f"{path.name} is damaged: the checksum of {broken} is another one"
        # Tensors stay in the file: only what stands around them is read.
        state = torch.load(path, weights_only=True, map_location="cpu", mmap=True)
    except OSError as error:
        # A bad spot of the disk, and places that damaged numbers point to.
        if error.errno not in (None, errno.EIO, errno.EINVAL):
            raise
        return f"{path.name} cannot be read: {error.strerror or error}"
    except zipfile.BadZipFile:
        return f"{path.name} is torn: it is no whole file ({path.stat().st_size} bytes)"
    except (ValueError, RuntimeError, EOFError, zlib.error, NotImplementedError) as error:
        return f"{path.name} is damaged: {_first_line(error)}"
    except Exception as error:
        # UnpicklingError and whatever an unpickler makes of other bytes.
        return f"{path.name} is no checkpoint: {type(error).__name__}: {_first_line(error)}"
    if not isinstance(state, dict) or not state.keys() >= KEYS:
        return f"{path.name} is no checkpoint of a training"
    return ""


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def newer(path: Path) -> bool:
    """Whether a whole checkpoint was written by a newer program than this one."""
    from .training import CHECKPOINT_VERSION

    state = torch.load(path, weights_only=True, map_location="cpu", mmap=True)
    return int(state["version"]) > CHECKPOINT_VERSION
