"""How a benchmark of many types is told which ones: a word for several, a label, or a list."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..errors import SettingError, nearest
from ..quantities import several


def labels_of(
    types: str | Sequence[str], named: Mapping[str, Sequence[str]], known: Iterable[str]
) -> list[str]:
    """The labels that `types` names; `named` says what the words stand for.

    Raises `SettingError` for an unknown label, the same one twice and none at all.
    """
    known = set(known)
    found = list(named.get(types, [types])) if isinstance(types, str) else several("types", types)
    for label in found:
        if label not in known:
            raise SettingError(f"types cannot be {label!r}.{nearest(str(label), [*named, *known])}")
    if not found or len(set(found)) < len(found):
        raise SettingError(f"types must name different types, at least one, found {found!r}")
    return found


def of_source(name: str, source: str) -> str:
    """A name that tells figures of the official files from those of generated examples."""
    return f"{name}_official" if source == "official" else name


def named_after(word: str, types: str | Sequence[str], usual: str) -> str:
    """How tables call the mean over the types: the word alone for the usual ones, "word_all"."""
    if types == usual:
        return word
    return f"{word}_{types if isinstance(types, str) else '+'.join(types)}"
