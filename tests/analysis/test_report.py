from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from typer.testing import CliRunner

from analysis.__main__ import app
from analysis.report import inline_svg, write_report

from .fake_study import BASELINE, KL, TECATOR, Ledger, realistic, regression, three, tiny

VOID = {"meta", "br", "hr", "img", "link", "wbr"}


class Page(HTMLParser):
    """Collects the texts of a page and checks that its elements are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.ids: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [value for name, value in attrs if name == "id" and value]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [value for name, value in attrs if name == "id" and value]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_report_of_a_finished_study(tmp_path: Path) -> None:
    realistic(tmp_path / "s", per_arm=6, seeds=3)
    path = write_report(tmp_path / "s")
    assert path == tmp_path / "s" / "report" / "index.html"
    made = {str(one.relative_to(path.parent)) for one in path.parent.rglob("*") if one.is_file()}
    drawn = {one.removesuffix(".svg") for one in made if one.endswith(".svg")}
    assert {"figures/learning_curves", "figures/clean_robust"} <= drawn
    assert made == {
        "index.html",
        "robustness.md",
        "robustness.csv",
        "robustness.tex",
        "stops.csv",
        *(f"{name}.{end}" for name in drawn for end in ("svg", "png")),
    }
    assert len(list((tmp_path / "s" / "tables").glob("*.parquet"))) == 6
    html = path.read_text(encoding="utf-8")
    page = Page(html)
    assert page.open == []
    heads = [page.texts[place].strip() for place in range(len(page.texts))]
    order = [
        "Does Gaussian consistency help a small convnet on digits?",
        "Answer",
        "Paired differences",
        "Figures",
        "What was run",
        "Chosen configurations",
        "Failed trials",
        "Warnings",
        "Notes",
        "Reproduce",
    ]
    assert [heads.index(one) for one in order] == sorted(heads.index(one) for one in order)
    assert "python -m study reproduce studies/s" in html
    assert "RuntimeError: <b>no & luck</b>" in page.texts
    assert "not finished" not in html
    assert html.count("<svg") == len(drawn)


def test_report_names_the_data_and_holds_the_other_metrics(tmp_path: Path) -> None:
    regression(tmp_path / "s")
    html = write_report(tmp_path / "s").read_text(encoding="utf-8")
    page = Page(html)
    assert page.open == []
    assert f"{TECATOR['title']}: {TECATOR['provenance']}" in page.texts
    assert "1,380 train, 34 validation, 43 test" in page.texts
    assert TECATOR["units"] in page.texts
    # The answer's caption and that of the table by the mean absolute error.
    assert html.count(f"on the test split of {TECATOR['title']}; mean over") == 2
    assert "Other metrics" in page.texts
    assert "clean [MAE]" in page.texts
    assert "5.050 ±" in html or "5.050 ±" in html
    assert len(page.ids) == len(set(page.ids))


def test_page_needs_no_other_file_and_names_no_folder(tmp_path: Path) -> None:
    tiny(tmp_path / "s")
    html = write_report(tmp_path / "s").read_text(encoding="utf-8")
    assert not re.search(r"<(link|iframe|img)\b|@import|\bsrc=", html)
    outside = re.findall(r'(?:href|url)[=(]"?(?!"?#)[^\s>]*', html)
    assert outside == []
    assert str(tmp_path) not in html


def test_ids_are_unique_and_references_resolve(tmp_path: Path) -> None:
    tiny(tmp_path / "s")
    html = write_report(tmp_path / "s").read_text(encoding="utf-8")
    ids = Page(html).ids
    assert len(ids) == len(set(ids)) > 0
    assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', html)) <= set(ids)


def test_wide_things_scroll_in_their_own_box(tmp_path: Path) -> None:
    realistic(tmp_path / "s", per_arm=3, seeds=2)
    html = write_report(tmp_path / "s").read_text(encoding="utf-8")
    wide = re.findall(
        r"(<div class=\"scroll\"[^>]*>\s*(?:<div role[^>]*>\s*)?)?<(?:table|svg)\b", html
    )
    # The answer, differences, weighters, coefficients, selection; chosen ones, what was spent,
    # rungs, stopped trials.
    assert len(re.findall("<table", html)) == 9
    assert len(wide) >= 9
    assert all(wide)


def test_everything_of_the_user_is_escaped(tmp_path: Path) -> None:
    evil = "<script>alert('x')</script>&amp;"
    ledger = Ledger(tmp_path / "s", [(evil, evil)], question=evil, data={"name": evil})
    trial = ledger.plan((evil, evil))
    ledger.start(trial)
    ledger.report(trial, 1, 0.5, three(0.5, 0.4, 0.1))
    html = write_report(tmp_path / "s").read_text(encoding="utf-8")
    assert html.count("<script") == 1
    assert "&lt;script&gt;" in html
    assert evil in Page(html).texts


def test_report_of_a_running_study_says_so(tmp_path: Path) -> None:
    tiny(tmp_path / "s", finished=False)
    html = write_report(tmp_path / "s").read_text(encoding="utf-8")
    assert "This study is not finished (status: running)" in html
    assert "validation split, not test" in html
    assert "python -m study resume studies/s" in html
    assert "Paired differences" not in html


def test_report_of_a_study_without_a_single_result(tmp_path: Path) -> None:
    Ledger(tmp_path / "s", [BASELINE, KL])
    html = write_report(tmp_path / "s").read_text(encoding="utf-8")
    assert "No benchmark has been evaluated yet." in html
    assert "No figure learning_curves" in html
    assert Page(html).open == []


def test_report_again_replaces_the_old_one(tmp_path: Path) -> None:
    tiny(tmp_path / "s")
    first = write_report(tmp_path / "s").read_bytes()
    assert write_report(tmp_path / "s").read_bytes() == first


def test_inline_svg_drops_prolog_size_and_metadata() -> None:
    text = (
        '<?xml version="1.0"?><!DOCTYPE svg><svg width="9pt" height="8pt" viewBox="0 0 9 8">'
        '<metadata>x</metadata><g id="a" clip-path="url(#c)"><use href="#a" width="3"/></g></svg>'
    )
    assert inline_svg(text, "f") == (
        '<svg viewBox="0 0 9 8" style="max-width: 14pt"><g id="f-a" clip-path="url(#f-c)">'
        '<use href="#f-a" width="3"/></g></svg>'
    )


@pytest.mark.parametrize(("command", "least"), [("export", 6), ("plot", 4), ("report", 1)])
def test_commands_print_the_paths_that_they_wrote(tmp_path: Path, command: str, least: int) -> None:
    tiny(tmp_path / "s")
    found = CliRunner().invoke(app, [command, str(tmp_path / "s"), "--json"])
    assert found.exit_code == 0
    paths = json.loads(found.stdout)
    assert len(paths) >= least
    assert all(Path(one).is_file() for one in paths)


def test_page_opens_with_the_verdict_and_ends_with_the_warnings(tmp_path: Path) -> None:
    tiny(tmp_path / "s")
    html = write_report(tmp_path / "s").read_text(encoding="utf-8")
    answer = re.search(r'<p class="answer"><strong>(.+?)</strong>', html)
    assert answer is not None
    assert "2 paired seeds cannot tell" in answer.group(1)
    assert html.index(answer.group(0)) < html.index("<table")
    assert html.index('id="warnings"') < html.index('id="notes"')
    assert "Fewer than 3 seeds: plain × Fixed, gaussian-kl × CoV." in html


def test_the_page_allows_its_own_script_and_no_other(tmp_path: Path) -> None:
    import base64
    import hashlib

    tiny(tmp_path / "s")
    html = write_report(tmp_path / "s").read_text(encoding="utf-8")
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in html
    # Sorting reads the figures in full precision from the cells.
    assert 'data-value="0.15' in html
