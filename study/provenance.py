"""What is to be known of a study's data: title, where they come from, units, and sizes of parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from analysis.notes import described
from trainables.core.errors import SettingError

if TYPE_CHECKING:
    from trainables.core.training import Training

PARTS = ("train", "validation", "test")


def data_of(training: Training, data_root: str) -> dict[str, Any]:
    """The data of a training as plain JSON, with the sizes of the parts after the split."""
    from trainables.core.training import load_source

    config = training.recipe["data"]
    source = load_source(config, data_root)
    # Two of ten classes are another task than all ten, so tables must say it.
    chosen = ", ".join(map(str, config["classes"]))
    title = source.title or config["name"]
    return {
        "title": f"{title} (classes {chosen})" if chosen else title,
        "provenance": source.provenance,
        "units": source.units,
        "shape": list(training.parts.train.shape),
        "classes": len(training.parts.classes),
        **{part: len(getattr(training.parts, part)) for part in PARTS},
    }


def line_of(data: Mapping[str, Any]) -> str:
    """The same in a line."""
    return f"{described(data['title'], data['provenance'])}; {_sizes(data)}"


def check_same(where: str, begun: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> None:
    """Raises `SettingError` where a study would go on with other data than it was begun with.

    Titles and sizes are compared, not the words of the provenance, which may change with a release.
    Either may be None: the ledgers of the first releases do not describe their data.
    """
    if not begun or not now:
        return
    then, found = (f"{one['title']}, {_sizes(one)}" for one in (begun, now))
    if then != found:
        raise SettingError(
            f"{where} was begun with other data ({then}) than there are now ({found}). Nothing was "
            "changed; name the folder of the first ones with --data-root or $STUDY_DATA."
        )


def _sizes(data: Mapping[str, Any]) -> str:
    return ", ".join(f"{data[part]:,} {part}" for part in PARTS)
