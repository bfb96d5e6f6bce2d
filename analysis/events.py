"""Events: the lines of a study's ledger, to text and back.

A ledger is one JSON object per line, UTF-8, each line ended by a newline, in order of time. Every
event has "event" (what happened) and "time" (ISO 8601, UTC); the first is "study". JSON has no
NaN: inside "metrics", "weights" and "evaluations" numbers that are not finite are written as the
texts "NaN", "Infinity" and "-Infinity"; nowhere else may one stand.
"""

from __future__ import annotations

import gc
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from sys import intern
from typing import Any, NoReturn

import numpy as np

SCHEMA_VERSION = 2
FILE = "ledger.jsonl"

Event = dict[str, Any]


class LedgerError(ValueError):
    """A ledger cannot be read, or an event cannot be written; the message names where and why."""


class _NotJsonError(LedgerError):
    """The line is no JSON at all: damaged, or unfinished where it is the last."""


class Events(list[Event]):
    """The events of a ledger in order, and how many bytes of an unfinished last line follow."""

    def __init__(self, events: Iterable[Event] = (), torn_bytes: int = 0) -> None:
        super().__init__(events)
        self.torn_bytes = torn_bytes

    @property
    def torn(self) -> bool:
        """Whether the last line was left out because it is unfinished."""
        return self.torn_bytes > 0


def read(path: str | Path) -> Events:
    """All events of a ledger; `path` is the ledger or the study's folder.

    A last line without a newline or without valid JSON is what a killed writer leaves behind; it
    is left out and counted in `torn_bytes`. Events of older schema versions come out as those of
    today (`upgraded`). Raises `LedgerError` for a missing ledger, a damaged line elsewhere, one
    that does not begin with a study, and a newer schema version.
    """
    path = Path(path)
    if path.is_dir():
        path = path / FILE
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise LedgerError(f"{path}: no ledger here; a study's folder holds {FILE}") from None
    events = Events()
    with file, _uncollected():
        while lines := file.readlines(_AT_ONCE):
            unfinished = b"" if lines[-1].endswith(b"\n") else lines.pop()
            found = _together(lines)
            if found is None:
                more = bool(unfinished or file.peek(1))
                found, events.torn_bytes = _one_by_one(path, lines, len(events), more)
            events += found
            if unfinished:
                events.torn_bytes = len(unfinished)
    for number, event in enumerate(events):
        if number == 0:
            check_study(path, event)
        elif event["event"] == "upgraded":
            _check_version(path, event)
    if not events:
        raise LedgerError(f"{path}: the ledger holds no study; nothing was recorded in it")
    events[:] = upgraded(events)
    return events


def _together(lines: Sequence[bytes]) -> list[Event] | None:
    """The events of whole lines, decoded in one go; None where one of them needs a closer look.

    That takes half the time, and events decoded together share the texts of their keys.
    """
    try:
        text = b",".join(lines).decode("utf-8")
        found: list[Event] = _DECODER.decode(f"[{text}]")
    except (ValueError, RecursionError):
        return None
    # A broken line may be mended by the next one.
    if len(found) != len(lines) or not all(line.startswith(b"{") for line in lines):
        return None
    if not all(_is_event(one) for one in found):
        return None
    for event in found:
        if "recipe" in event:
            event["recipe"] = _deeply(event["recipe"])
    if "NaN" in text or "Infinity" in text:
        found = [_measured(one) for one in found]
    return found


def _one_by_one(
    path: Path, lines: Sequence[bytes], before: int, more: bool
) -> tuple[list[Event], int]:
    """The events of lines of which one is damaged, and the bytes of the last if it is that one.

    `before` is how many lines came before these; `more`: something follows, be it unfinished.
    """
    found: list[Event] = []
    for place, line in enumerate(lines):
        try:
            found.append(decode(line.removesuffix(b"\n")))
        except LedgerError as error:
            last = place + 1 == len(lines) and not more
            if isinstance(error, _NotJsonError) and last:
                return found, len(line)
            raise LedgerError(f"{path}, line {before + place + 1}: {error}") from None
    return found, 0


@contextmanager
def _uncollected() -> Iterator[None]:
    """No search for cycles meanwhile: events have none, and it takes a quarter of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def version(events: Iterable[Event]) -> int:
    """The schema version that the next event of a ledger with these events has to be of."""
    return max(
        int(one["schema_version"]) for one in events if one["event"] in ("study", "upgraded")
    )


def latest(events: Iterable[Event]) -> str:
    """The last event of those that say where a study as a whole stands; "" before the first."""
    whole = ("segment", "interrupted", "paused", "aborted", "finished", "extended")
    return next((one["event"] for one in reversed(list(events)) if one["event"] in whole), "")


def upgraded(events: Iterable[Event]) -> list[Event]:
    """Events of all schema versions as events of today; nothing on disk is changed.

    Version 1 had no `stopped` (it follows the report that decided so, here without its cutoff and
    rank, which were not recorded) and no `failed` (it precedes the end by an error). The first
    driver of a newer version that goes on with a ledger records `upgraded` before anything else.
    """
    found: list[Event] = []
    old = True
    for event in events:
        kind = event["event"]
        if kind in ("study", "upgraded"):
            old = int(event["schema_version"]) < 2
        if old and kind == "ended" and event.get("reason") == "error":
            found.append(
                {
                    "event": "failed",
                    "time": event["time"],
                    "trial": event["trial"],
                    "class": "error",
                }
                | dict(event.get("error") or {"type": "", "text": ""})
            )
        found.append(event)
        if old and kind == "report" and event.get("decision") == "stop":
            found.append(
                {
                    "event": "stopped",
                    "time": event["time"],
                    "trial": event["trial"],
                    "epoch": event["epoch"],
                    "rung": event["rung"],
                    "cutoff": None,
                    "rank": None,
                    "of": None,
                }
            )
    return found


def encode(event: Mapping[str, Any]) -> str:
    """The event as one line without its newline.

    NumPy scalars become plain numbers. Raises `LedgerError` for anything else that JSON has no word
    for, and for a number that is not finite outside metrics, weights and evaluations.
    """
    for key in ("event", "time"):
        if not isinstance(event.get(key), str):
            raise LedgerError(f"an event needs {key!r} as a text, found {event.get(key)!r}")
    plain = {key: _plain(value, str(key), key in _MEASURED) for key, value in event.items()}
    return json.dumps(plain, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def decode(line: str | bytes) -> Event:
    """The event of one line; raises `LedgerError` when the line is none."""
    try:
        text = line if isinstance(line, str) else line.decode("utf-8")
        event = _DECODER.decode(text)
    except (ValueError, RecursionError):
        raise _NotJsonError(f"not valid JSON: {_start(line)}") from None
    if not isinstance(event, dict):
        raise LedgerError(f"not an event: {_start(line)}")
    for key in ("event", "time"):
        if not isinstance(event.get(key), str):
            raise LedgerError(f"an event without {key!r}: {_start(line)}")
    return _shared(_measured(event) if "NaN" in text or "Infinity" in text else event)


def _is_event(found: Any) -> bool:
    return (
        isinstance(found, dict)
        and isinstance(found.get("event"), str)
        and isinstance(found.get("time"), str)
    )


def _measured(event: Event) -> Event:
    """The event with its measurements as numbers, also those that JSON has no word for."""
    for key in ("metrics", "weights"):
        if key in event:
            event[key] = _numbers(event[key])
    if isinstance(event.get("evaluations"), list):
        event["evaluations"] = [_row(row) for row in event["evaluations"]]
    return event


_MEASURED = ("metrics", "weights", "evaluations")
# Fields of evaluation rows that are texts, whatever they say.
_TEXTS = (
    "split",
    "family",
    "name",
    "norm",
    "eps_text",
    "metric",
    "unreliable_why",
    "protocol",
    "source",
)
# Bytes of a ledger that are decoded in one go.
_AT_ONCE = 2**20
_SPELLED = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def check_study(path: Path, first: Event) -> None:
    if first["event"] != "study":
        raise LedgerError(f"{path}: must begin with the event 'study', found {first['event']!r}")
    _check_version(path, first)


def _check_version(path: Path, event: Event) -> None:
    version = event.get("schema_version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise LedgerError(f"{path}: schema_version must be 1 or more, found {version!r}")
    if version > SCHEMA_VERSION:
        raise LedgerError(
            f"{path}: written with schema version {version}, this installation reads up to"
            f" {SCHEMA_VERSION}; update it to read this study"
        )


def _plain(value: Any, where: str, measured: bool) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        # Texts of errors may hold bytes of file names that are no UTF-8.
        return str(value.encode("utf-8", "backslashreplace"), "utf-8")
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if math.isfinite(value):
            return float(value)
        if measured:
            return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        raise LedgerError(f"{where}: only measurements may be {value}, settings must be finite")
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise LedgerError(f"{where}: keys must be texts, found {key!r}")
        return {key: _plain(one, f"{where}/{key}", measured) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one, f"{where}/{place}", measured) for place, one in enumerate(value)]
    raise LedgerError(f"{where}: cannot be written as JSON, found a {type(value).__name__}")


def _numbers(value: Any) -> Any:
    if isinstance(value, str):
        return _SPELLED.get(value, value)
    if isinstance(value, list):
        return [_numbers(one) for one in value]
    if isinstance(value, dict):
        return {key: _numbers(one) for key, one in value.items()}
    return value


def _row(row: Any) -> Any:
    if not isinstance(row, dict):
        return row
    return {key: value if key in _TEXTS else _numbers(value) for key, value in row.items()}


def _shared(event: Event) -> Event:
    """The same with one text for equal keys: events of a long study are mostly their keys."""
    event = _interned(event)
    for key in ("metrics", "weights"):
        if isinstance(event.get(key), dict):
            event[key] = _interned(event[key])
    if "recipe" in event:
        event["recipe"] = _deeply(event["recipe"])
    if "weights" in event and isinstance(event["weights"], dict):
        found = event["weights"].items()
        event["weights"] = {k: _interned(v) if isinstance(v, dict) else v for k, v in found}
    if isinstance(event.get("evaluations"), list):
        rows = event["evaluations"]
        event["evaluations"] = [_interned(v) if isinstance(v, dict) else v for v in rows]
    return event


def _deeply(value: Any) -> Any:
    """Keys and texts of a recipe, most of which thousands of trials share."""
    if isinstance(value, dict):
        return {intern(key): _deeply(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_deeply(one) for one in value]
    return intern(value) if type(value) is str else value


def _interned(found: dict[str, Any]) -> dict[str, Any]:
    return dict(zip(map(intern, found), found.values(), strict=True))


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def _start(line: str | bytes) -> str:
    return repr(line[:60])
