"""Ranges: what a search may vary, as leaves of a nested config.

A leaf of a config is a range when it is one of the classes below or a mapping in their spelling:

    lr: {low: 0.005, high: 0.5, log: true, default: 0.05}     # Float
    steps: {low: 1, high: 20}                                 # Integer, both ends included
    form: {values: [weighted, unweighted]}                    # Choice
    optimizer: {values: [{name: SGD, lr: {low: 0.01, high: 1.0}}, {name: Adam}]}   # conditional

A number may depend on a choice elsewhere: with `unless: {weighter: [GradNorm, FAMO]}` it is not
drawn and has its default where the choice at the path "weighter" has one of these labels.

The path of a leaf ("training/optimizer/lr") is its name everywhere: in the sampler, in the ledger
and in the tables. What lies inside a chosen mapping continues the path of the choice, so that
settings of different options are columns of one table.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

Scalar = None | bool | int | float | str
# A choice's path and labels of it; None for none.
Unless = tuple[str, tuple[Scalar, ...]] | None


class RangeError(ValueError):
    """A range is impossible or a value lies outside it; the message names path, rule and value."""


@dataclass(frozen=True)
class Float:
    """A real number between `low` and `high`, both included, in the unit of the setting.

    `log` draws evenly in the logarithm and needs low > 0. `default` is the paper's value; where
    there is none it is the middle of the range (geometric if `log`). `unless` is the path of a
    choice and those of its labels with which the number is not drawn. Raises `RangeError`.
    """

    low: float
    high: float
    log: bool = False
    default: float | None = None
    unless: Unless = None

    def __post_init__(self) -> None:
        for key in ("low", "high", "default"):
            value = getattr(self, key)
            if value is not None or key != "default":
                # Frozen: normalised once here, so that 1 and "8/255" read as floats from now on.
                object.__setattr__(self, key, float(_number(key, value)))
        _check_ends(self.low, self.high, self.log, self.default)

    def middle(self) -> float:
        """The default, or the middle of the range."""
        if self.default is not None:
            return self.default
        if self.log:
            return self._clip(math.sqrt(self.low) * math.sqrt(self.high))
        return self._clip(self.low / 2 + self.high / 2)

    def at(self, fraction: float) -> float:
        """The value below which this share of the range lies; `fraction` in [0, 1)."""
        if self.log:
            low, high = math.log(self.low), math.log(self.high)
            return self._clip(math.exp(low + fraction * (high - low)))
        # This form cannot overflow where high - low would.
        return self._clip((1 - fraction) * self.low + fraction * self.high)

    def contains(self, value: object) -> bool:
        """Whether a sampler may hand out `value`."""
        return _is_number(value) and self.low <= value <= self.high  # type: ignore[operator]

    def plain(self) -> dict[str, Any]:
        """As the ledger records it."""
        return {"low": self.low, "high": self.high, "log": self.log}

    def _clip(self, value: float) -> float:
        return min(max(value, self.low), self.high)


@dataclass(frozen=True)
class Integer:
    """A whole number between `low` and `high`, both included.

    `log` draws evenly in the logarithm and needs low >= 1. Without a `default` it is the rounded
    middle (geometric if `log`). `unless` is as for `Float`. Raises `RangeError`.
    """

    low: int
    high: int
    log: bool = False
    default: int | None = None
    unless: Unless = None

    def __post_init__(self) -> None:
        for key in ("low", "high", "default"):
            value = getattr(self, key)
            if value is None and key == "default":
                continue
            number = _number(key, value)
            if not isinstance(number, int):
                raise RangeError(f"{key} must be a whole number, found {value!r}")
        _check_ends(self.low, self.high, self.log, self.default)

    def middle(self) -> int:
        """The default, or the rounded middle of the range."""
        if self.default is not None:
            return self.default
        if self.log:
            return self._clip(round(math.sqrt(self.low) * math.sqrt(self.high)))
        return (self.low + self.high) // 2

    def at(self, fraction: float) -> int:
        """The value below which this share of the range lies; `fraction` in [0, 1)."""
        if self.log:
            # Half a step beyond both ends gives the end values their full share after rounding.
            low, high = math.log(self.low - 0.5), math.log(self.high + 0.5)
            return self._clip(round(math.exp(low + fraction * (high - low))))
        return self._clip(self.low + math.floor(fraction * (self.high - self.low + 1)))

    def contains(self, value: object) -> bool:
        """Whether a sampler may hand out `value`."""
        return (
            isinstance(value, int)
            and not isinstance(value, bool)
            and self.low <= value <= self.high
        )

    def plain(self) -> dict[str, Any]:
        """As the ledger records it."""
        return {"low": self.low, "high": self.high, "log": self.log}

    def _clip(self, value: int) -> int:
        return min(max(value, self.low), self.high)


@dataclass(frozen=True)
class Choice:
    """One of several values: scalars, lists, or mappings with a "name" that may hold ranges.

    A value is known by its label: itself for a scalar, its name for a mapping, its JSON text for a
    list. Labels must differ. `default` is a label; without one it is the first value. Raises
    `RangeError`.
    """

    values: tuple[Any, ...]
    default: Any = None

    def __post_init__(self) -> None:
        if isinstance(self.values, str | Mapping) or not isinstance(self.values, Iterable):
            raise RangeError(f"values must be a list, found {self.values!r}")
        object.__setattr__(self, "values", tuple(self.values))
        if not self.values:
            raise RangeError("values must hold at least one value, found none")
        seen: set[str] = set()
        for label in self.labels:
            if json.dumps(label) in seen:
                raise RangeError(
                    f"values must differ, found {label!r} twice; to vary a setting of one option,"
                    " give it a range inside that option"
                )
            seen.add(json.dumps(label))
        if self.default is not None:
            object.__setattr__(self, "default", _label(self.default))
            if not self.contains(self.default):
                raise RangeError(
                    f"default must be one of the values, found {self.default!r}."
                    f"{_nearest(self.default, self.labels)}"
                )

    @property
    def labels(self) -> tuple[Scalar, ...]:
        """What names each value in params and tables, in the order given."""
        return tuple(_label(value) for value in self.values)

    def middle(self) -> Scalar:
        """The default's label, or the first one."""
        return self.labels[0] if self.default is None else self.default

    def at(self, fraction: float) -> Scalar:
        """The label at this share of the list; `fraction` in [0, 1)."""
        return self.labels[math.floor(fraction * len(self.values))]

    def contains(self, label: object) -> bool:
        """Whether a sampler may hand out `label`; types count, so 0 is not False."""
        return any(_same(label, one) for one in self.labels)

    def pick(self, label: Scalar) -> Any:
        """The value that has this label."""
        for one, value in zip(self.labels, self.values, strict=True):
            if _same(label, one):
                return value
        raise RangeError(f"{label!r} is none of the values.{_nearest(label, self.labels)}")

    def plain(self) -> dict[str, Any]:
        """As the ledger records it."""
        return {"values": list(self.labels)}


Range = Float | Integer | Choice
Chooser = Callable[[str, Range], Scalar]


def as_range(leaf: object, path: str) -> Range | None:
    """The range that `leaf` spells, or None where it is an ordinary value.

    A mapping is meant as a range when it has no "name" and holds a list under "values" or anything
    but a mapping under "low" or "high" (views may well be labelled "low" and "high"). It is an
    `Integer` when all its numbers are whole, else a `Float`; numbers may be texts such as "8/255"
    or "1e-4", which YAML does not read as numbers. Raises `RangeError` that names `path`.
    """
    if isinstance(leaf, Float | Integer | Choice):
        return leaf
    if not isinstance(leaf, Mapping) or "name" in leaf:
        return None
    if not any(key in leaf and not isinstance(leaf[key], Mapping) for key in _MARKS):
        return None
    try:
        return _from_mapping(leaf)
    except RangeError as error:
        raise RangeError(f"{path or 'range'}: {error}") from None


def sample(tree: Any, choose: Chooser, path: str = "") -> tuple[Any, dict[str, Scalar]]:
    """A config without ranges, and the values drawn for them by path.

    `choose(path, range)` draws each one; for a `Choice` it returns a label. A chosen mapping is
    walked too, its inner paths under the path of the choice. A choice that other ranges depend on
    is drawn when the first of them is met; a range that another choice rules out has its default
    and no param. The config shares no container with `tree`. Raises `RangeError` for an impossible
    range or a drawn value outside its range.
    """
    walk = _Walk(tree, path, choose)
    return walk.config(tree, path), walk.params


def defaults(tree: Any) -> Any:
    """The config in which every range has its default."""
    return sample(tree, default)[0]


def default(_path: str, found: Range) -> Scalar:
    """The chooser of default values, to be handed to `sample`."""
    return found.middle()


def distributions(tree: Any, path: str = "") -> dict[str, dict[str, Any]]:
    """Every range by path as the ledger records it, those inside the options of a choice too.

    Where two options give one path different ranges, its entry is {"any_of": [...]}.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    _collect(tree, path, found)
    return {
        path: plain[0] if len(plain) == 1 else {"any_of": plain} for path, plain in found.items()
    }


def uniform(seed_text: str) -> Chooser:
    """A chooser for random search whose draw depends on `seed_text` and the path alone.

    Adding or removing a range leaves the other draws as they were. The 53 leading bits of
    SHA-256(seed_text, path) are the fraction, so that no library version can change them.
    """

    def choose(path: str, found: Range) -> Scalar:
        digest = hashlib.sha256(json.dumps([seed_text, path]).encode()).digest()
        return found.at((int.from_bytes(digest[:8], "big") >> 11) / 2**53)

    return choose


def tune_space(tree: Any, path: str = "") -> Any:
    """The same space as a `param_space` of Ray Tune, for use of its own searchers.

    Raises `RangeError` for a conditional range: Tune's dict spaces cannot express one.
    """
    # Ray takes seconds to import and nothing else here needs it.
    from ray import tune

    found = as_range(tree, path)
    if found is not None and not isinstance(found, Choice) and found.unless:
        raise RangeError(
            f"{path or 'range'}: Ray Tune's dict spaces cannot express a range that depends on"
            f" {found.unless[0]!r}; use a sampler of search/sampler"
        )
    if isinstance(found, Float):
        draw = tune.loguniform if found.log else tune.uniform
        return draw(found.low, found.high)
    if isinstance(found, Integer):
        draw = tune.lograndint if found.log else tune.randint
        return draw(found.low, found.high + 1)  # Tune leaves the upper end out.
    if isinstance(found, Choice):
        inner: dict[str, list[dict[str, Any]]] = {}
        for value in found.values:
            _collect(value, path, inner)
        if inner:
            raise RangeError(
                f"{path or 'range'}: Ray Tune's dict spaces cannot express a choice whose options"
                f" hold ranges, found {', '.join(inner)}; use a sampler of search/sampler"
            )
        return tune.choice(
            [_Walk(value, path, default).config(value, path) for value in found.values]
        )
    if isinstance(tree, Mapping):
        return {key: tune_space(value, _join(path, key)) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [tune_space(value, _join(path, place)) for place, value in enumerate(tree)]
    return tree


_MARKS = ("low", "high", "values")
_NUMERIC = ("low", "high", "log", "default", "unless")
_CHOICE = ("values", "default")


def _from_mapping(leaf: Mapping[str, Any]) -> Range:
    known = _CHOICE if "values" in leaf else _NUMERIC
    for key in leaf:
        if key not in known:
            raise RangeError(f"a range has no setting {key!r}.{_nearest(key, known)}")
    if "values" in leaf:
        return Choice(leaf["values"], leaf.get("default"))
    for key in ("low", "high"):
        if key not in leaf:
            raise RangeError(f"a range needs both low and high, found no {key} in {dict(leaf)!r}")
    log = leaf.get("log", False)
    if not isinstance(log, bool):
        raise RangeError(f"log must be true or false, found {log!r}")
    low, high = _number("low", leaf["low"]), _number("high", leaf["high"])
    middle = leaf.get("default")
    if middle is not None:
        middle = _number("default", middle)
    unless = _unless(leaf.get("unless"))
    if isinstance(low, int) and isinstance(high, int) and not isinstance(middle, float):
        return Integer(low, high, log, middle, unless)
    return Float(low, high, log, middle, unless)


def _unless(found: object) -> Unless:
    if found is None:
        return None
    if not isinstance(found, Mapping) or len(found) != 1:
        raise RangeError(
            f"unless must be one choice's path with a list of its labels, found {found!r}"
        )
    ((path, labels),) = found.items()
    if not isinstance(labels, list | tuple) or not labels:
        raise RangeError(f"unless must list labels of the choice {path!r}, found {labels!r}")
    return str(path), tuple(_label(one) for one in labels)


def _number(key: str, value: object) -> int | float:
    number: object = value
    if isinstance(value, str):
        try:
            number = float(Fraction(value)) if "/" in value else float(value)
        except (ValueError, ZeroDivisionError):
            number = None
    if not _is_number(number):
        raise RangeError(f"{key} must be a finite number, found {value!r}")
    return number  # type: ignore[return-value]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _check_ends(low: float, high: float, log: bool, middle: float | None) -> None:
    if low >= high:
        raise RangeError(f"low must be below high, found low {low!r} and high {high!r}")
    if log and low <= 0:
        raise RangeError(f"a log range needs low > 0, found low {low!r}")
    if middle is not None and not low <= middle <= high:
        raise RangeError(f"default must lie in [{low!r}, {high!r}], found {middle!r}")


def _label(value: object) -> Scalar:
    if isinstance(value, Mapping):
        name = value.get("name")
        if not isinstance(name, str) or not name:
            raise RangeError(
                f"a mapping among the values needs a name of its own, found {dict(value)!r}"
            )
        return name
    if isinstance(value, list | tuple):
        return json.dumps(value, default=_refuse)
    if value is None or isinstance(value, bool | str) or _is_number(value):
        return value  # type: ignore[return-value]
    return _refuse(value)


def _refuse(value: object) -> Scalar:
    raise RangeError(
        "a value of a choice must be a finite number, a text, true, false, null, a list of these"
        f" or a mapping with a name, found {value!r}"
    )


def _same(one: object, other: object) -> bool:
    return type(one) is type(other) and one == other


class _Walk:
    """One way through a tree, on which every range met gets its value."""

    def __init__(self, tree: Any, path: str, choose: Chooser) -> None:
        self.tree = tree
        self.path = path
        self.choose = choose
        self.params: dict[str, Scalar] = {}

    def config(self, tree: Any, path: str) -> Any:
        found = as_range(tree, path)
        if isinstance(found, Choice):
            return self.config(found.pick(self.drawn(found, path)), path)
        if found is not None:
            return found.middle() if self.ruled_out(found, path) else self.drawn(found, path)
        if isinstance(tree, Mapping):
            return {key: self.config(value, _join(path, key)) for key, value in tree.items()}
        if isinstance(tree, list | tuple):
            return [self.config(value, _join(path, place)) for place, value in enumerate(tree)]
        return tree

    def drawn(self, found: Range, path: str) -> Scalar:
        """The value of a range; drawn once, even if it is needed before its turn."""
        if path not in self.params:
            value = self.choose(path, found)
            if not found.contains(value):
                raise RangeError(f"{path or 'range'}: {value!r} lies outside {found.plain()!r}")
            if isinstance(found, Float):
                value = float(value)  # type: ignore[arg-type]  # `contains` saw a number
            self.params[path] = value
        return self.params[path]

    def ruled_out(self, found: Float | Integer, path: str) -> bool:
        """Whether the choice that a range depends on has a label with which it is not drawn."""
        if found.unless is None:
            return False
        place, labels = found.unless
        where = _join(self.path, place)
        tree = self.tree
        for key in place.split("/"):
            tree = tree.get(key) if isinstance(tree, Mapping) else None
        choice = as_range(tree, where)
        if not isinstance(choice, Choice):
            raise RangeError(f"{path}: unless names {place!r}, and there is no choice at that path")
        for label in labels:
            if not choice.contains(label):
                raise RangeError(
                    f"{path}: unless names {label!r}, which is no value of {place}."
                    f"{_nearest(label, choice.labels)}"
                )
        return any(_same(self.drawn(choice, where), label) for label in labels)


def _collect(tree: Any, path: str, into: dict[str, list[dict[str, Any]]]) -> None:
    found = as_range(tree, path)
    if found is not None:
        known = into.setdefault(path, [])
        if found.plain() not in known:
            known.append(found.plain())
        for value in found.values if isinstance(found, Choice) else ():
            _collect(value, path, into)
    elif isinstance(tree, Mapping):
        for key, value in tree.items():
            _collect(value, _join(path, key), into)
    elif isinstance(tree, list | tuple):
        for place, value in enumerate(tree):
            _collect(value, _join(path, place), into)


def _join(path: str, key: object) -> str:
    return f"{path}/{key}" if path else str(key)


def _nearest(name: object, known: Iterable[object]) -> str:
    spellings = [str(one) for one in known]
    close = difflib.get_close_matches(str(name), spellings, n=1, cutoff=0.4)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"{hint} Known: {', '.join(spellings)}."
