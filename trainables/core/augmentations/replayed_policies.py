"""Policies that another training recorded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..errors import MissingDataError, SettingError, nearest
from ..quantities import whole
from ._controller import PER_SUBPOLICY
from ._operations import NAMES, STEPS
from ._policies import Policies

COLUMNS = ("epoch", "update", "policy", "operations", "magnitudes")
SUFFIXES = (".parquet", ".jsonl")


class ReplayedPolicies(Policies):
    """M copies of a batch by the recorded policies of another training (arXiv 1912.11188).

    The paper's transfer: the sequence of policies that were learned with one network and data set
    is shown, epoch by epoch, to another; nothing is learned here.

    `file` is the absolute path of a recording: `tables/policies.parquet` of a study, or lines of
    JSON (.jsonl) with the same columns: epoch, update, policy, operations (names), magnitudes
    (whole numbers of 0 ... 9), and where there are several trial_id and view, of which `trial` and
    `view` name one each ("": the only one). The first recorded epoch is shown in the first epoch
    and so on; after the last one its last policies stay. If an epoch has several updates, each is
    shown for as many steps as the column `steps` says and the last one to the epoch's end.
    `policies` takes the first so many of every update's (0: all).

    x [b, c, h, w] in [0, 1] becomes [M b, c, h, w], policy by policy, and y is repeated. Same
    draws, same result as the recorded view. Raises `MissingDataError` if the file is not there, and
    `SettingError` for a trial or view that is not in it, rows that are no policies, settings out of
    range, and inputs that are no images of 1 or 3 channels.
    """

    short = ("replay",)
    scored = False
    by_epoch = True

    def __init__(
        self, *, file: str = "", trial: str = "", view: str = "", policies: int = 0
    ) -> None:
        rows = _only(_only(_read(file), "trial_id", "trial", trial), "view", "view", view)
        epochs = _epochs(rows)
        flat = [part for parts in epochs for part in parts]
        recorded = torch.tensor([part.choices for part in flat])
        count = whole("policies", policies) or recorded.shape[1]
        if count > recorded.shape[1]:
            raise SettingError(
                f"policies must be at most the {recorded.shape[1]} recorded ones, found {count}"
            )
        recorded = recorded[:, :count]
        pairing = bool((recorded[..., 0::2] == len(NAMES) - 1).any())
        super().__init__(
            policies=count,
            subpolicies=recorded.shape[2],
            operations=len(NAMES) - (not pairing),
        )
        self.register_buffer("recorded", recorded, persistent=False)
        self.recorded: Tensor
        self.epochs = epochs
        # The place in the recording: an epoch, and a part of it.
        self.epoch, self.part = 0, 0
        self._adopt(self._found())

    @property
    def lasts(self) -> int:
        """As recorded; the last policies of an epoch stay to its end."""
        parts = self.epochs[self.epoch]
        return 0 if self.part == len(parts) - 1 else parts[self.part].steps

    def get_extra_state(self) -> Tensor:
        """The place in the recording as well."""
        return torch.cat([super().get_extra_state(), torch.tensor([self.epoch, self.part])])

    def set_extra_state(self, state: Tensor) -> None:
        """Go on from a checkpoint."""
        super().set_extra_state(state)
        self.epoch, self.part = state.tolist()[-2:]

    def _next(self, losses: Tensor, epoch_over: bool) -> Tensor:
        if not epoch_over:
            self.part += 1
        elif self.epoch < len(self.epochs) - 1:
            self.epoch, self.part = self.epoch + 1, 0
        else:
            self.part = len(self.epochs[self.epoch]) - 1
        return self._found()

    def _found(self) -> Tensor:
        self.updates = self.epochs[self.epoch][self.part].update
        before = sum(len(parts) for parts in self.epochs[: self.epoch])
        # Not a view of it: a checkpoint is loaded in place.
        return self.recorded[before + self.part].clone()

    def _scores(self) -> Tensor:
        return torch.zeros_like(self.scores)


class _Part(NamedTuple):
    """The policies of one update within an epoch: choices [m][s][4] and for how many steps."""

    update: int
    steps: int
    choices: list[list[list[int]]]


def _read(file: str) -> list[Mapping[str, Any]]:
    """The rows of a recording."""
    path = Path(file).expanduser()
    # Workers run in folders of their own.
    if not path.is_absolute() or path.suffix not in SUFFIXES:
        raise SettingError(
            f"file must be the absolute path of a recording ({' or '.join(SUFFIXES)}), found "
            f"{file!r}"
        )
    if not path.is_file():
        raise MissingDataError(
            f"{path} is not there; a study with a view of policies writes tables/policies.parquet."
        )
    try:
        rows = _lines(path) if path.suffix == ".jsonl" else _table(path)
    except ValueError as error:
        raise SettingError(f"file {path} cannot be read: {error}") from None
    if not rows:
        raise SettingError(f"file {path} holds no policies")
    for row in rows:
        missing = [one for one in COLUMNS if not isinstance(row, Mapping) or row.get(one) is None]
        if missing:
            raise SettingError(
                f"file {path} must have {', '.join(COLUMNS)} in every row, found one without "
                f"{missing[0]}"
            )
    return rows


def _lines(path: Path) -> list[Mapping[str, Any]]:
    rows = []
    for line in path.read_text("utf-8").splitlines():
        # A line may have been cut off by a kill; the trial then repeats its epoch.
        with suppress(json.JSONDecodeError):
            rows.append(json.loads(line))
    return rows


def _table(path: Path) -> list[Mapping[str, Any]]:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise MissingDataError(
            f"{path} is read by pyarrow, which is not there: pip install pyarrow, or give a .jsonl "
            f"file ({error})"
        ) from None
    table = parquet.read_table(path)
    known = [one for one in (*COLUMNS, "trial_id", "view", "steps") if one in table.column_names]
    rows: list[Mapping[str, Any]] = table.select(known).to_pylist()
    return rows


def _only(
    rows: list[Mapping[str, Any]], column: str, setting: str, wanted: str
) -> list[Mapping[str, Any]]:
    """The rows whose `column` is the wanted one, or all where there is only one."""
    known = {str(row[column]) for row in rows if row.get(column) is not None}
    if not wanted and len(known) <= 1:
        return rows
    if wanted not in known:
        raise SettingError(f"{setting} cannot be {wanted!r}.{nearest(wanted, known)}")
    return [row for row in rows if str(row.get(column)) == wanted]


def _epochs(rows: list[Mapping[str, Any]]) -> list[list[_Part]]:
    """The recorded epochs, in order, each with the policies of its updates, in order."""
    # A trial that was started again may have repeated epochs.
    last = {(row["epoch"], row["update"], row["policy"]): row for row in rows}
    grouped: dict[tuple[int, int], list[Mapping[str, Any]]] = {}
    for _, row in sorted(last.items(), key=lambda item: item[0]):
        grouped.setdefault((int(row["epoch"]), int(row["update"])), []).append(row)
    epochs: dict[int, list[_Part]] = {}
    shapes = set()
    for (epoch, update), group in grouped.items():
        where = f"the recording's epoch {epoch}, update {update}"
        if [row["policy"] for row in group] != list(range(len(group))):
            raise SettingError(
                f"{where} must have policies 0, 1, ... without a gap, found "
                f"{[row['policy'] for row in group]}"
            )
        choices = [_choices(where, row) for row in group]
        shapes.add((len(choices), *{len(one) for one in choices}))
        if len(shapes) > 1 or len(min(shapes)) > 2:
            raise SettingError(
                f"{where} must have as many policies and sub-policies as all others have, found "
                f"{len(group)} policies of {[len(one) for one in choices]} sub-policies"
            )
        epochs.setdefault(epoch, []).append(_Part(update, group[0].get("steps") or 0, choices))
    gaps = sorted(set(range(min(epochs), max(epochs) + 1)) - set(epochs))
    if gaps:
        raise SettingError(f"the recording must have every epoch, found none of {gaps}")
    for epoch, parts in epochs.items():
        if any(one.steps < 1 for one in parts[:-1]):
            raise SettingError(
                f"the recording's epoch {epoch} has {len(parts)} updates and must say in a column "
                f"steps for how many each was in force"
            )
    return list(epochs.values())


def _choices(where: str, row: Mapping[str, Any]) -> list[list[int]]:
    """A row's policy as [s][4]: operation, magnitude, operation, magnitude."""
    operations, magnitudes = list(row["operations"]), list(row["magnitudes"])
    if len(operations) != len(magnitudes) or len(operations) % 2 or not operations:
        raise SettingError(
            f"{where} must have as many magnitudes as operations, two for each sub-policy, found "
            f"{len(operations)} operations and {len(magnitudes)} magnitudes"
        )
    for one in operations:
        if one not in NAMES:
            raise SettingError(f"{where} has an unknown operation {one!r}.{nearest(one, NAMES)}")
    for one in magnitudes:
        if one not in range(STEPS):
            raise SettingError(f"{where}: a magnitude must be 0 to {STEPS - 1}, found {one!r}")
    flat = [
        int(one)
        for pair in zip(map(NAMES.index, operations), magnitudes, strict=True)
        for one in pair
    ]
    return [flat[start : start + PER_SUBPOLICY] for start in range(0, len(flat), PER_SUBPOLICY)]
