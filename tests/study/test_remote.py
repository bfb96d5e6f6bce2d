from __future__ import annotations

import json
from pathlib import Path

import pytest

from study import remote
from study.ledger import Ledger
from study.remote import Mirror, fetch, fetch_recorded, fetch_trial
from trainables import storage
from trainables.core.errors import SettingError
from trainables.storage import Storage, StorageError


def begun(folder: Path, study_id: str = "one") -> Path:
    folder.mkdir(parents=True)
    (folder / "resolved.json").write_text("{}")
    (folder / "study.yaml").write_text("study: tiny\n")
    first = {"schema_version": 2, "study": "tiny", "study_id": study_id}
    Ledger.create(folder, first).close()
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return f"memory://{tmp_path.name}/tiny"


def test_a_study_comes_back_as_it_was_left(uri: str, tmp_path: Path) -> None:
    folder = begun(tmp_path / "here")
    (folder / "tables").mkdir()
    (folder / "tables" / "trials.parquet").write_bytes(b"table")
    (folder / "report" / "figures").mkdir(parents=True)
    (folder / "report" / "figures" / "one.svg").write_bytes(b"figure")
    expected = contents(folder)
    # Neither the lock nor what belongs to the trials is the study's to copy.
    (folder / "lock").write_text("{}")
    (folder / "resolved.json.new").write_text("half")
    (folder / "trials" / "0000").mkdir(parents=True)
    (folder / "trials" / "0000" / "last.pt").write_bytes(b"large")
    Mirror(folder, uri).copy()
    assert contents(fetch(uri, tmp_path / "new" / "there")) == expected
    with Ledger.open(tmp_path / "new" / "there") as ledger:
        ledger.append("segment", segment=0, command="resume")


def test_only_what_changed_is_copied(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = begun(tmp_path / "here")
    mirror = Mirror(folder, uri)
    put: list[str] = []
    true = Storage.put

    def noted(self: Storage, path: Path, name: str) -> None:
        put.append(name)
        true(self, path, name)

    monkeypatch.setattr(Storage, "put", noted)
    mirror.copy()
    # The ledger last: what it tells of is there.
    assert put == ["study.yaml", "resolved.json", "ledger.jsonl"]
    mirror.copy()
    assert len(put) == 3
    with Ledger.open(folder) as ledger:
        ledger.append("segment", segment=0, command="run")
    mirror.copy()
    assert put[3:] == ["ledger.jsonl"]


def test_it_is_copied_once_in_a_while(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr(remote, "monotonic", lambda: clock[0])
    folder = begun(tmp_path / "here")
    mirror = Mirror(folder, uri)
    assert mirror.tick() == ""
    (folder / "study.yaml").write_text("study: tiny\n# larger\n")
    there = tmp_path / "there"
    for now, expected in ((129.0, "study: tiny\n"), (131.0, "study: tiny\n# larger\n")):
        clock[0] = now
        assert mirror.tick() == ""
        assert Storage(uri).get("study.yaml", there)
        assert there.read_text() == expected


def test_a_storage_that_is_gone_for_a_while_is_no_reason_to_stop(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "PAUSES_S", ())
    mirror = Mirror(begun(tmp_path / "here"), uri, every_s=0)

    def gone(self: Storage, path: Path, name: str) -> None:
        raise StorageError("it is gone")

    with monkeypatch.context() as patch:
        patch.setattr(Storage, "put", gone)
        assert mirror.tick() == "it is gone"
    assert mirror.tick() == ""
    assert "ledger.jsonl" in Storage(uri).names()


def test_another_studys_place_is_left_alone(uri: str, tmp_path: Path) -> None:
    mine, theirs = begun(tmp_path / "mine"), begun(tmp_path / "theirs", "other")
    Mirror(theirs, uri).copy()
    with pytest.raises(SettingError, match=r"holds another study \(other\)"):
        Mirror(mine, uri)
    Mirror(theirs, uri).copy()
    assert contents(fetch(uri, tmp_path / "there")) == contents(theirs)


def test_nothing_is_overwritten(uri: str, tmp_path: Path) -> None:
    folder = begun(tmp_path / "here")
    Mirror(folder, uri).copy()
    before = contents(folder)
    with pytest.raises(SettingError, match="is there already"):
        fetch(uri, folder)
    assert contents(folder) == before
    with pytest.raises(SettingError, match="holds no study"):
        fetch(f"{uri}/nothing", tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here"]


def test_a_ledger_cut_off_while_it_was_copied_is_mended(uri: str, tmp_path: Path) -> None:
    folder = begun(tmp_path / "here")
    with (folder / "ledger.jsonl").open("a") as file:
        file.write('{"event": "segm')
    Mirror(folder, uri).copy()
    with Ledger.open(fetch(uri, tmp_path / "there")) as ledger:
        assert [one["event"] for one in ledger.events] == ["study"]


def test_what_trials_left_there_is_brought(uri: str, tmp_path: Path) -> None:
    folder = begun(tmp_path / "here")
    for name in ("examples.npz", "policies.jsonl", "best.pt", "previous.pt"):
        (tmp_path / "one").write_text(json.dumps(name))
        Storage(uri).put(tmp_path / "one", f"trials/0007/{name}")
    fetch_recorded(uri, folder)
    place = folder / "trials" / "0007"
    assert sorted(path.name for path in place.iterdir()) == ["examples.npz", "policies.jsonl"]
    assert fetch_trial(uri, folder, 7) == place
    assert (place / "best.pt").read_text() == '"best.pt"'
    with pytest.raises(SettingError, match="no checkpoint of trial 8"):
        fetch_trial(uri, folder, 8)
