"""Random numbers that are a function of seed and step alone: no generator, no sync.

The counter-based form of splitmix64: number i of a step is the finaliser's hash of the seed's hash
plus (2^32 step + i) golden ratios, modulo 2^64. The only state a weighter needs is its step.
"""

from __future__ import annotations

import torch
from torch import Tensor

_WORD = 2**64
_GAMMA = 0x9E3779B97F4A7C15  # 2^64 over the golden ratio, odd
_FIRST = 0xBF58476D1CE4E5B9
_SECOND = 0x94D049BB133111EB


def uniform(seed: int, step: Tensor, count: int) -> Tensor:
    """`count` numbers from U(0, 1), both ends left out; float64 on the device of `step`.

    `step` is a 0-dim int64 below 2^31. The same seed and step give the same bits on every machine.
    A random permutation is the argsort of these.
    """
    hashed = _hash_of(seed)
    position = torch.arange(count, dtype=torch.int64, device=step.device)
    words = (position + step * 2**32) * _signed(_GAMMA) + _signed(hashed)
    words = (words ^ _right(words, 30)) * _signed(_FIRST)
    words = (words ^ _right(words, 27)) * _signed(_SECOND)
    words = words ^ _right(words, 31)
    # 52 bits and a half: with 53 the largest would round to 1.
    return (_right(words, 12).double() + 0.5) * 2.0**-52


def normal(seed: int, step: Tensor, count: int) -> Tensor:
    """`count` standard normal numbers by inversion of `uniform`, float64.

    The same up to the last bits that libraries round differently.
    """
    found: Tensor = torch.special.ndtri(uniform(seed, step, count))
    return found


def _right(words: Tensor, bits: int) -> Tensor:
    """A shift that fills with zeros; torch's own fills with the sign."""
    return (words >> bits) & ((1 << (64 - bits)) - 1)


def _hash_of(seed: int) -> int:
    """The finaliser in Python's numbers, so that neighbouring seeds start far apart."""
    word = (seed + 1) * _GAMMA % _WORD
    word = (word ^ (word >> 30)) * _FIRST % _WORD
    word = (word ^ (word >> 27)) * _SECOND % _WORD
    return word ^ (word >> 31)


def _signed(word: int) -> int:
    """The int64 with the bits of this word."""
    return word - _WORD if word >= _WORD // 2 else word
