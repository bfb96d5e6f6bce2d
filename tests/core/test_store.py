"""Kept values: whole or absent, made once, and named by all that they are made of."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
import torch

from trainables.core.store import Store, fingerprint

X = torch.arange(6.0)
NAMED = [
    ("a", X),
    ("b", X),
    ("a", X + 1),
    ("a", X.view(2, 3)),
    ("a", X.double()),
    ("a", {"w": X}),
    ("a", {"v": X}),
    ("aa", X),
    ("a", "a", X),
]


def test_fingerprints_differ_where_anything_does() -> None:
    names = [fingerprint(*one) for one in NAMED]
    assert len(set(names)) == len(NAMED)
    assert fingerprint("a", X.clone()) == names[0]
    assert fingerprint("a", torch.stack([X, X], 1)[:, 0]) == names[0]  # the layout is no part


def test_values_come_back(tmp_path: Path) -> None:
    store = Store(tmp_path).within("deep")
    assert store.get("one") is None
    store.put("one", {"x": X, "n": 3})
    found = store.get("one")
    assert torch.equal(found["x"], X)
    assert found["n"] == 3
    assert not list((tmp_path / "deep").glob("*.tmp"))
    store.clear()
    assert store.get("one") is None


def test_without_a_folder_nothing_is_kept() -> None:
    store = Store()
    store.put("one", X)
    assert store.get("one") is None
    assert torch.equal(store.within("a").once("one", lambda: X), X)
    store.clear()


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(Exception, match="pickle"):
        store.put("one", lambda: None)
    assert store.get("one") is None
    assert not list(tmp_path.glob("one*"))


def _ask(folder: str) -> None:
    def make() -> torch.Tensor:
        with (Path(folder) / "made").open("a") as file:
            file.write("x")
        return X

    assert torch.equal(Store(folder).once("one", make), X)


def test_several_processes_make_a_value_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    asking = [context.Process(target=_ask, args=(str(tmp_path),)) for _ in range(4)]
    for one in asking:
        one.start()
    for one in asking:
        one.join(60)
        assert one.exitcode == 0
    assert (tmp_path / "made").read_text() == "x"


@pytest.mark.parametrize("left", [0, 100])
def test_what_a_crash_cut_off_is_made_again(tmp_path: Path, left: int) -> None:
    store = Store(tmp_path)
    store.put("one", X)
    path = tmp_path / "one.pt"
    path.write_bytes(path.read_bytes()[:left])
    assert store.get("one") is None
    assert torch.equal(store.once("one", lambda: X + 1), X + 1)
