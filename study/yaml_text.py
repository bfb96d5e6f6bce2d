"""The text of a study file: YAML to plain values, and single keys set from the command line."""

from __future__ import annotations

import re
from typing import Any

import yaml

from trainables.core.errors import SettingError


def read_yaml(text: str) -> Any:
    """YAML by a safe loader that reads 1e-3 as a number and refuses a key given twice."""
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise SettingError(f"not valid YAML: {error}") from None


def apply(tree: Any, change: str) -> None:
    """Set one key of a study file in place: "training.optimizer.lr=0.1"; the value is YAML."""
    path, sign, value = change.partition("=")
    if not sign or not path.strip():
        raise SettingError(f"--set needs key.path=value, found {change!r}.")
    if not isinstance(tree, dict):
        raise SettingError(f"--set {change}: a study file is a mapping, found {tree!r}.")
    *way, last = path.strip().split(".")
    inner: Any = tree
    for step, key in enumerate(way):
        inner = _inside(inner, key, ".".join(way[:step]), change)
    if isinstance(inner, list):
        inner[_place(inner, last, change)] = read_yaml(value)
    else:
        inner[last] = read_yaml(value)


def _inside(inner: Any, key: str, way: str, change: str) -> Any:
    place: Any = key
    if isinstance(inner, list):
        place = _place(inner, key, change)
    else:
        inner.setdefault(key, {})
    if isinstance(inner[place], str):
        # A component given by name alone becomes a mapping, so that a setting can be added.
        inner[place] = {"preset" if way == "arms" else "name": inner[place]}
    found = inner[place]
    if not isinstance(found, dict | list):
        raise SettingError(f"--set {change}: {key!r} holds {found!r} and no settings.")
    return found


def _place(inner: list[Any], key: str, change: str) -> int:
    if not key.isdigit() or int(key) >= len(inner):
        raise SettingError(f"--set {change}: {key!r} is no place in a list of {len(inner)}.")
    return int(key)


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with floats as YAML 1.2 writes them and no key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise SettingError(f"the key {key.value!r} stands twice{key.start_mark}")
                seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)$"),
    list("-+0123456789."),
)
