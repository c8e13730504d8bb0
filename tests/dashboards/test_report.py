"""The page as a whole: what it says, that no text becomes markup, that it asks the network for nothing."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from dashboard_studies import failed, finished_study, random_trials, regression_study, study, trial
from playwright.sync_api import Page as PlaywrightPage
from playwright.sync_api import expect, sync_playwright

from automl.errors import RequestError
from automl.records import TrialState
from automl.study_record import StudyRecord
from dashboards.report import write_report

ATTACK = "<script>alert(1)</script>\"'><img src=x onerror=\"document.title='taken over'\">"


class Page(HTMLParser):
    """The parts of a page that the tests look at."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[str] = []
        self.code: list[str] = []
        self.is_code = False
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self.is_code = tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self.is_code = False

    def handle_data(self, data: str) -> None:
        (self.code if self.is_code else self.words).append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    @property
    def figures(self) -> list[dict[str, Any]]:
        found = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', self.source, flags=re.DOTALL)
        return [json.loads(one) for one in found]


def page_of(folder: Path, *records: StudyRecord) -> Page:
    return Page(write_report(records, folder / "report.html"))


def attacked_study() -> StudyRecord:
    """A study in which every text that comes from outside is an attack."""
    trials = [
        replace(one, config={**one.config, f"param {ATTACK}": f"{ATTACK} {one.number % 3}"}, reason=ATTACK)
        for one in random_trials(30)
    ]
    trials += [failed(30, ATTACK, ATTACK), failed(31, "nan", f"first line\n{ATTACK}")]
    made = finished_study()
    spec = made.dataset
    spec = replace(
        spec,
        name=ATTACK,
        fingerprint=ATTACK,
        inputs=(replace(spec.inputs[0], name=ATTACK),),
        outputs=(replace(spec.outputs[0], name=ATTACK, labels=(ATTACK, "b")),),
    )
    row = {"name": ATTACK, "range": ATTACK, "default": ATTACK, "when": ATTACK}
    attacked = study(trials, name=ATTACK, dataset=spec, space=ATTACK, space_table=(row,))
    winner = attacked.ranked[0]
    assert made.final is not None
    final = replace(made.final, trial=winner.number, metrics={"accuracy": 0.9, ATTACK: 0.5})
    return replace(attacked, settings={ATTACK: ATTACK}, finalists=(winner,), final=final)


def test_says_what_was_found(tmp_path: Path) -> None:
    record = finished_study()
    page = page_of(tmp_path, record)
    assert record.best is not None
    for words in (
        "digits-mlp-001",
        "Best architecture per dataset",
        f"hidden.units {record.best.config['hidden'][0]['units']}",
        f"optimizer {record.best.config['optimizer']}",
        f"{record.best.parameter_count:,}",
        "95 %: 0.9556 to 0.9861",
        "0.9722 ± 0.0028",
        "3 fresh seeds",
        "+0.0040",
        "1 min 23 s",
        "1,149 train · 288 validation · 360 test",
        "val_accuracy (higher is better)",
        "16..512, log",
        "optimizer is sgd",
        "scheduler asha",
    ):
        assert words in page.text, words
    assert page.tags.count("tr") >= 40


def test_returns_the_path_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    assert write_report([finished_study()], path) == path
    assert list(tmp_path.iterdir()) == [path]


def test_loads_nothing(tmp_path: Path) -> None:
    page = page_of(tmp_path, finished_study(), regression_study())
    loading = ("src", "srcset", "data", "poster", "action", "background", "formaction")
    assert [one for one in page.attributes if one[1] in loading] == []
    links = [value for _, name, value in page.attributes if name in ("href", "xlink:href")]
    assert links
    assert all(link.startswith("#") for link in links)
    assert not {"link", "iframe", "object", "embed", "base", "img"} & set(page.tags)
    (style,) = re.findall(r"<style>(.*?)</style>", page.source, flags=re.DOTALL)
    assert not re.search(r"@import|url\(", style)
    policy = next(value for _, name, value in page.attributes if name == "content" and "default-src" in value)
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert "showSendToCloud: false" in page.source


def test_escapes_every_text(tmp_path: Path) -> None:
    page = page_of(tmp_path, attacked_study())
    assert "<script>alert" not in page.source
    assert "img" not in page.tags
    assert page.tags.count("script") == 2 + len(page.figures)
    assert page.text.count("<script>alert(1)</script>") > 30
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]


def test_escapes_texts_inside_figures(tmp_path: Path) -> None:
    page = page_of(tmp_path, attacked_study())
    texts = [text for figure in page.figures for text in _strings(figure)]
    assert any("&lt;script&gt;alert" in text for text in texts)
    assert not [text for text in texts if re.search(r"<(?!br>|extra>|/extra>)", text)]


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _strings(one)
    elif isinstance(value, list):
        for one in value:
            yield from _strings(one)


def test_labels_a_minimised_objective_in_units_of_the_target(tmp_path: Path) -> None:
    page = page_of(tmp_path, regression_study())
    assert "val_rmse (lower is better, in units of the target)" in page.text
    assert "higher is better" not in page.text
    assert "a lucky search shows as a negative number" in page.text
    assert "53.209" in page.text


def test_sums_up_failures(tmp_path: Path) -> None:
    page = page_of(tmp_path, study([failed(0, "oom", "no memory"), failed(1), failed(2)]))
    assert "No trial has finished with a usable value; the failures below say why." in page.text
    assert re.search(r"nan 2 1, 2 0.00 s ValueError: loss is <nan>", page.text)
    assert "oom 1 0 0.00 s no memory" in page.text
    assert "Run again" not in page.text
    assert page.figures == []


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (study(), "No trial has been proposed yet."),
        (study([trial(0, None, state=TrialState.RUNNING, reason="")]), "1 running"),
        (study([trial(0, None, state=TrialState.WAITING, reason="")]), "1 waiting"),
        (study([trial(0, 0.9)]), "not tested"),
        (study([trial(0, 0.0)]), "0.0000"),
        (study(random_trials(30)), "not tested"),
        (study([trial(0, 0.9)], space_table=(), settings={}), "not tested"),
        (replace(finished_study(), final=None), "re-trained, 3 seeds"),
        (replace(finished_study(), finalists=()), "95 %: 0.9556 to 0.9861"),
    ],
    ids=["empty", "running", "waiting", "one", "zero", "no-finalists", "bare", "no-test", "no-re-training"],
)
def test_renders_unfinished_studies(record: StudyRecord, words: str, tmp_path: Path) -> None:
    assert words in page_of(tmp_path, record).text


def test_renders_several_outputs_and_no_study_at_all(tmp_path: Path) -> None:
    spec = finished_study().dataset
    two = replace(spec, outputs=(spec.outputs[0], replace(spec.outputs[0], name="other")))
    assert "other (multiclass" in page_of(tmp_path, study([trial(0, 0.5)], dataset=two)).text
    assert "There is no study to report yet." in page_of(tmp_path).text


def test_every_figure_has_its_place(tmp_path: Path) -> None:
    page = page_of(tmp_path, finished_study(), regression_study())
    places = [value for tag, name, value in page.attributes if (tag, name) == ("div", "id")]
    drawn = [value for _, name, value in page.attributes if name == "data-figure"]
    assert sorted(places) == sorted(drawn)
    assert len(set(drawn)) == len(drawn) == len(page.figures)


def test_ten_thousand_trials_stay_usable(tmp_path: Path) -> None:
    record = study(random_trials(10_000))
    start = time.monotonic()
    path = write_report([record], tmp_path / "report.html")
    assert time.monotonic() - start < 20
    assert path.stat().st_size < 15_000_000
    page = Page(path)
    assert "The best 500 of 10,000 trials" in page.text
    assert 500 <= page.tags.count("tr") < 520
    assert max(len(trace.get("x", ())) for figure in page.figures for trace in figure["data"]) <= 3_000


@pytest.mark.parametrize("place", ["missing/report.html", "file/report.html", "folder"])
def test_refuses_a_place_that_cannot_be_written(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(
        RequestError, match=r"cannot be written to '.*' \(.*\): name a file in a writable folder"
    ) as caught:
        write_report([study()], tmp_path / place)
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_replaces_an_older_page(tmp_path: Path) -> None:
    page_of(tmp_path, study())
    assert "1 trial" in page_of(tmp_path, study([trial(0, 0.9)])).text


def test_a_name_that_is_not_unicode_costs_nothing(tmp_path: Path) -> None:
    assert "caf?" in page_of(tmp_path, study(name="caf\udce9")).text


@pytest.fixture
def browser_page() -> Iterator[PlaywrightPage]:
    """A page of a real, headless Chromium; the machine's own, because nothing is downloaded here."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium is installed")
    with sync_playwright() as playwright:
        # Root, as in a container, has no sandbox of Chromium's.
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox", "--disable-quic"])
        yield chromium.new_page(viewport={"width": 1280, "height": 12_000})
        chromium.close()


def test_draws_and_sorts_in_a_browser(tmp_path: Path, browser_page: PlaywrightPage) -> None:
    """Open an attacked and a finished study: every figure is drawn, no attack runs, nothing complains."""
    complaints: list[str] = []
    browser_page.on("console", lambda message: complaints.append(message.text))
    browser_page.on("pageerror", lambda error: complaints.append(str(error)))
    browser_page.goto(write_report([finished_study(), attacked_study()], tmp_path / "report.html").as_uri())

    table = browser_page.locator(".sortable").first
    heading = table.locator("th button").nth(1)
    heading.click()
    upwards = table.locator("tbody td:nth-child(2)").all_text_contents()
    assert upwards == sorted(upwards, key=int)
    heading.click()
    assert table.locator("tbody td:nth-child(2)").all_text_contents() == upwards[::-1]

    figures = browser_page.locator(".canvas")
    assert figures.count() > 20
    expect(browser_page.locator(".canvas .plot-container")).to_have_count(figures.count(), timeout=60_000)
    assert browser_page.title().endswith("· automl")
    assert complaints == []
