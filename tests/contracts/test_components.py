"""What holds for a component of any kind: documented, configured by its constructor, named."""

from __future__ import annotations

import inspect
import json

import pytest
from torch import nn

from trainables.core import catalog
from trainables.core.errors import SettingError

from .toys import components

ALL = components(*catalog.KINDS)


def test_every_kind_has_components() -> None:
    assert [kind for kind in catalog.KINDS if not catalog.names(kind)] == []


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_first_sentence_says_what_it_is(kind: str, name: str) -> None:
    own = vars(catalog.find(kind, name)).get("__doc__")
    first = (own or "").strip().partition("\n\n")[0]
    assert len(first.split()) >= 2
    assert "." in first or ":" in first


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_constructor_takes_keywords_only_and_no_surplus(kind: str, name: str) -> None:
    found = catalog.find(kind, name)
    assert catalog.settings(kind, name).keys().isdisjoint(catalog.facts(kind, name))
    # Its own constructor, or one that it shares with its family.
    if found.__init__ not in (object.__init__, nn.Module.__init__):
        parameters = inspect.signature(found).parameters.values()
        assert {one.name for one in parameters if one.kind is not one.KEYWORD_ONLY} == set()
    else:
        assert catalog.settings(kind, name) == {}
        assert catalog.facts(kind, name) == []


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_defaults_can_stand_in_a_file(kind: str, name: str) -> None:
    found = catalog.settings(kind, name)
    assert json.loads(json.dumps(found, allow_nan=False)).keys() == found.keys()


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_unknown_setting_names_the_nearest(kind: str, name: str) -> None:
    known = sorted(catalog.settings(kind, name))
    wrong = (known[0] if known else "setting") + "_x"
    with pytest.raises(SettingError) as error:
        catalog.build(kind, {"name": name, wrong: 1})
    assert f"{name} has no setting {wrong!r}." in str(error.value)
    assert (f"Did you mean {known[0]!r}?" if known else "Known: none.") in str(error.value)


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_found_by_other_spellings(kind: str, name: str) -> None:
    assert catalog.find(kind, name.lower()) is catalog.find(kind, name)
    assert catalog.expand(kind, name.upper())["name"] == name


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_file_holds_the_one_public_class(kind: str, name: str) -> None:
    found = catalog.find(kind, name)
    module = inspect.getmodule(found)
    public = [
        key
        for key, member in vars(module).items()
        if inspect.isclass(member)
        and member.__module__ == found.__module__
        and not key.startswith("_")
    ]
    assert public == [name]


def test_short_words_are_told_apart() -> None:
    words = [catalog.find("views", name).short[0].lower() for name in catalog.names("views")]
    assert len(words) == len(set(words))


@pytest.mark.parametrize(("kind", "name"), components("augmentations", "attacks"))
def test_short_form_is_settings_in_order(kind: str, name: str) -> None:
    found = catalog.find(kind, name)
    word, *rest = found.short
    assert set(rest) <= set(catalog.settings(kind, name))
    assert catalog.expand("views", word)["name"] == name
    values = [str(index) for index in range(len(rest))]
    expected = {"name": name} | dict(zip(rest, values, strict=True))
    assert catalog.expand("views", "_".join([word, *values])) == expected
    with pytest.raises(SettingError, match="too many parts"):
        catalog.expand("views", "_".join([word, *values, "surplus"]))
