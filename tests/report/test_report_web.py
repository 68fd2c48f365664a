"""The pages for a browser: thinned paths, drawings in the right places, every number with its seeds and its runs."""

from __future__ import annotations

import csv
import json
import re
import shlex
import time
from html.parser import HTMLParser
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from run_tree import a_run, evals, put

from sobench.config.grid import expand
from sobench.report import again, overview
from sobench.report.figures import tags
from sobench.report.web import NAME, svg, thin
from sobench.report.web.charts import charts
from sobench.report.web.render import render
from sobench.report.web.runs import runs_of
from sobench.report.writer import write
from sobench.system.files import CHECKOUT

REPORTS = CHECKOUT / "reports"
DEMO = REPORTS / "demo"
"""The folder of `make demo`, which is not committed."""
MOST_BYTES = 16_000
"""The mean size of the committed pages: a megabyte for sixty."""
METHODS = ("sgd", "newton", "hf_newton")


class Text(HTMLParser):
    """The text of a page, without that of its style and script, and the elements that it has."""

    def __init__(self, page: str):
        super().__init__()
        self.words: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.hidden = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.hidden = tag if tag in ("style", "script") else ""

    def handle_endtag(self, tag):
        self.hidden = ""

    def handle_data(self, data):
        if not self.hidden:
            self.words.append(data)

    def __str__(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


# Thinning


def distance(point: np.ndarray, path: np.ndarray) -> float:
    """The distance of a point from a path, by trying each of its segments."""
    found = [np.hypot(*(path[0] - point))]
    for start, end in zip(path[:-1], path[1:]):
        along = end - start
        share = np.clip((point - start) @ along / max(along @ along, 1e-12), 0, 1)
        found.append(np.hypot(*(start + share * along - point)))
    return float(min(found))


@given(st.lists(st.tuples(st.integers(-50, 900), st.integers(-50, 500)), min_size=1, max_size=60))
def test_no_point_is_farther_from_the_thinned_path_than_the_tolerance(points):
    path = np.array(points, dtype=float)
    kept = thin.thinned(path, most=1000)
    assert (kept[0] == path[0]).all() and (kept[-1] == path[-1]).all()
    assert {map(tuple, kept)} <= {map(tuple, path)} or len(kept) <= len(path)
    assert max(distance(point, kept.astype(float)) for point in path) <= thin.TOLERANCE + 1e-9


def test_a_straight_line_is_two_points_and_a_noisy_curve_keeps_its_extremes():
    x = np.arange(5000.0)
    assert thin.thinned(np.column_stack([x, 3 * x])).tolist() == [[0, 0], [4999, 14997]]
    noise = np.random.default_rng(0).normal(200, 50, len(x))
    noise[1234], noise[4321] = 900, -700
    kept = thin.thinned(np.column_stack([x * 0.12, noise]))
    assert 100 < len(kept) <= thin.MOST
    assert kept[:, 1].max() == 900 and kept[:, 1].min() == -700


# Drawings


def drawing(**scales) -> str:
    """A line from (1, 10) over (4, 1000) to (10, 100), with a band of 10 % around it."""
    axes = Figure().subplots()
    x, y = np.array([1.0, 4.0, 10.0]), np.array([10.0, 1000.0, 100.0])
    (line,) = axes.plot(x, y, color="#0072B2", gid=tags.tag(tags.LINE, "m"))
    axes.fill_between(x, 0.9 * y, 1.1 * y, color="#0072B2", gid=tags.tag(tags.BAND, "m"))
    axes.set(xlim=(0, 10), ylim=(1, 1000), **scales)
    return str(svg.panel(axes, {"m": svg.style_of(0, line)}, count(), "a <drawing>"))


def points(path: str) -> list[tuple[int, int]]:
    """The corners of a path of relative steps."""
    numbers = [int(number) for number in re.findall(r"-?\d+", path)]
    return [tuple(point) for point in np.cumsum(np.reshape(numbers, (-1, 2)), axis=0).tolist()]


@pytest.mark.parametrize(
    ("scale", "heights"),
    [("linear", [1 - 9 / 999, 0, 1 - 99 / 999]), ("log", [2 / 3, 0, 1 / 3])],
)
def test_a_line_is_where_its_values_are_on_the_axes(scale, heights):
    page = drawing(yscale=scale)
    (line,) = re.findall(r'<path d="(M[^"z]*)"', page)
    width, height = (svg.WIDTH - svg.LEFT - svg.RIGHT) * svg.FINE, (svg.HEIGHT - svg.TOP - svg.BOTTOM) * svg.FINE
    expected = [(round(share * width), round(at * height)) for share, at in zip((0.1, 0.4, 1.0), heights)]
    assert points(line) == pytest.approx(np.array(expected), abs=1)


def test_a_band_surrounds_its_line_and_a_label_is_escaped():
    page = drawing(yscale="log")
    (band,), (line,) = re.findall(r'class="b" d="([^"]*)"', page), re.findall(r'<path d="(M[^"z]*)"', page)
    at = {x: sorted(y for other, y in points(band) if abs(other - x) <= 1) for x, _ in points(line)}
    for x, y in points(line):
        assert at[x][0] < y < at[x][-1]
    assert 'aria-label="a &lt;drawing&gt;"' in page


def test_ticks_stand_beside_the_places_that_they_name():
    page = drawing(yscale="log")
    ys = dict(re.findall(r'y="(\d+)">([^<]+)</text>', page.partition('class="y"')[2].partition("</g>")[0]))
    places = {text: int(y) for y, text in ys.items()}
    height = svg.HEIGHT - svg.TOP - svg.BOTTOM
    assert places["10⁰"] == pytest.approx(svg.TOP + height, abs=1)
    assert places["10³"] == pytest.approx(svg.TOP, abs=1)
    assert places["10¹"] == pytest.approx(svg.TOP + height * 2 / 3, abs=1)


def test_formulas_of_matplotlib_are_plain_text():
    assert svg.plain(r"$3\times10^{-6}$") == "3×10⁻⁶" and svg.plain(r"$\mathdefault{10^{-2}}$") == "10⁻²"
    assert svg.plain(r"costs 5\$") == "costs 5$"


def test_methods_differ_by_more_than_their_colour():
    axes = Figure().subplots()
    lines = {f"m{i}": axes.plot([0, 1], [i, i], color=f"C{i % 10}")[0] for i in range(20)}
    styles = [svg.style_of(number, line) for number, line in enumerate(lines.values())]
    looks = {(style.shape, *re.findall(r" d\d", style.classes)) for style in styles}
    assert len(looks) == len(styles)
    assert len(charts([(None, axes)], lines, {}).legend) == 20


# Pages


@pytest.fixture
def written(folder: Path, tmp_path: Path) -> Path:
    """The folder of a report of two seeds of three methods, whose texts would be elements of a page."""
    file = folder / "a" / "one.yaml"
    text = (
        file.read_text().replace("sgd: SGD", 'sgd: "<script>alert(1)</script>"').replace("Newton's", 'The "best" & co')
    )
    file.write_text(text.replace("notes: [One note.]", "notes: ['See `code` & <b>this</b>.']"))
    runs = [a_run(name, seed) for name in METHODS for seed in range(2)]
    for place, run in enumerate(runs):
        rows = evals("test_accuracy", 0.1, 0.2 + place / 13) + [
            row | {"kind": "train", "loss": 1.0 / (1 + row["step"])} for row in evals("loss", 1.0, 0.5, 0.25)
        ]
        put(tmp_path / "runs", run, rows)
    write("a/one", runs, tmp_path / "runs", tmp_path / "out", folder=folder)
    return tmp_path / "out"


def test_the_page_has_every_number_its_seeds_its_runs_and_the_verdict(written):
    text = str(Text((written / NAME).read_text()))
    with (written / "table.csv").open() as file:
        for one in csv.DictReader(file):
            if one["mean"] and one["column"].startswith("Accuracy"):
                assert f"{float(one['mean']):.4f}" in text
            if one["published"]:
                assert f"{float(one['published']):.4f}" in text
    with (written / "values.csv").open() as file:
        values = [one for one in csv.DictReader(file) if "column Accuracy (100%)" in one["used_by"]]
    assert len(values) == 6
    for one in values:
        assert f" {one['seed']}: {float(one['value']):.6g}" in text and one["run"].rpartition("-")[0] in text
    with (written / "claims.csv").open() as file:
        (claim,) = csv.DictReader(file)
    assert claim["verdict"] in text and claim["text"] in text and claim["reading"] in text


def test_texts_of_a_description_are_no_elements(written):
    page = (written / NAME).read_text()
    found = Text(page)
    assert "<script>alert(1)</script>" in str(found) and 'The "best" & co' in str(found)
    assert [tag for tag, _ in found.tags].count("script") == 1
    assert "alert" not in page.rpartition("<script>")[2]
    assert tuple(found.words[found.words.index("See ") :][:3]) == ("See ", "code", " & <b>this</b>.")


def test_a_page_asks_for_nothing_over_a_network(written):
    found = Text((written / NAME).read_text())
    links = [value for _, attrs in found.tags for name, value in attrs.items() if name in ("src", "href")]
    assert links and not [link for link in links if re.match(r"\w+:|//", link or "") and link != "data:,"]
    policy = next(attrs["content"] for _, attrs in found.tags if attrs.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src ") and not re.search(r"\*|https?:|\w\.\w|;", policy)
    beside = [link for link in links if re.fullmatch(r"[\w.-]+\.(csv|md|tex|pdf|json)", link)]
    assert len(beside) > 5 and all((written / link).exists() for link in beside)


def test_every_id_of_a_page_is_there_once_and_every_place_exists(written):
    found = Text((written / NAME).read_text())
    ids = [attrs["id"] for _, attrs in found.tags if "id" in attrs]
    places = {attrs["href"][1:] for _, attrs in found.tags if attrs.get("href", "").startswith("#")}
    assert len(ids) == len({*ids}) and places and places <= {*ids}


def test_the_command_of_a_configuration_names_its_settings_and_seeds():
    origin = {"experiment": "a/b", "cells": {"c0": {"overrides": ["budget=cpu", "l2=${x}", "seed=0"]}}}
    runs = [
        {"cell": "c0", "seed": seed, "status": "done", "commit": "abc", "optimizer": "sgd", "dataset": "d"}
        for seed in (1, 0)
    ]
    (one,) = runs_of(origin | {"runs": runs}, {})
    assert one.command == "sobench run -m experiment=a/b 'hydra.sweeper.cells=[]' budget=cpu 'l2=${x}' seed=0,1"
    assert (one.name, one.about) == ("sgd on d", "")
    runs[0] |= {"status": "failed", "commit": None}
    assert runs_of(origin | {"runs": runs}, {})[0].about == "1 failed, code commit not recorded, code abc"
    assert runs_of({"experiment": None, "runs": runs}, {"c0": "SGD"})[0].command == ""


PROVENANCES = [path for path in sorted(REPORTS.rglob("provenance.json")) if '"cells": {' in path.read_text()]
OF_SHARED_CELLS = REPORTS / "kernelsgd/fig-4/cpu,dataset=usps/provenance.json"
"""Those of a report of which the settings of one cell select others of the experiment too."""


@pytest.mark.parametrize(
    "path",
    [pytest.param(p, marks=[] if p == OF_SHARED_CELLS else [pytest.mark.slow], id=str(p.parent)) for p in PROVENANCES],
)
def test_the_command_of_a_configuration_makes_its_runs_and_no_others(path):
    found = runs_of(json.loads(path.read_text()), {})
    for one in found[:: max(1, len(found) // 2)]:
        words = shlex.split(one.command)
        assert words[:3] == ["sobench", "run", "-m"]
        assert {run.cell for run in expand(words[3:])} == {one.cell}


def test_the_same_values_give_the_same_bytes_and_a_missing_one_is_an_error():
    from jinja2 import UndefinedError

    values = {"papers": [], "others": [], "facts": [(1, "paper")], "counts": [], "listed": list, "footer": ()}
    assert render("index.html", **values) == render("index.html", **values)
    with pytest.raises(UndefinedError):
        render("index.html", papers=[])


# The committed pages


def pages() -> list[Path]:
    return sorted(page for page in REPORTS.rglob(NAME) if not page.is_relative_to(DEMO))


def test_every_committed_report_has_a_page_and_all_are_small():
    folders = {folder for folder in again.folders([REPORTS]) if not folder.is_relative_to(DEMO)}
    assert {page.parent for page in pages()} == {REPORTS, *folders}
    assert sum(page.stat().st_size for page in pages()) <= MOST_BYTES * len(list(pages()))


def test_a_page_has_the_rules_of_its_classes_and_elements_and_few_others():
    known = set(re.findall(r"\.([a-z][\w-]*)", (CHECKOUT / "src/sobench/report/web/templates/style.css").read_text()))
    for page in pages():
        text = page.read_text()
        style, tags = re.search(r"<style>(.*)</style>", text, re.DOTALL)[1], Text(text).tags
        own = {name for _, attrs in tags for name in attrs.get("class", "").split()}
        styled = set(re.findall(r"\.([a-z][\w-]*)", style))
        assert own & known <= styled
        assert len(styled - own) <= 12, styled - own  # beside another selector, or of the script
        for tag in ("table", "dl", "img", "figure", "blockquote"):
            assert (tag in dict(tags)) == (f"}}{tag}{{" in style), (page, tag)


def test_the_links_of_committed_pages_lead_to_files():
    for page in pages():
        for tag, attrs in Text(page.read_text()).tags:
            link = (attrs.get("href") or attrs.get("src") or "").partition("#")[0]
            if tag in ("a", "img") and link:
                from urllib.parse import unquote

                assert (page.parent / unquote(link)).exists(), (page, link)


def test_the_index_of_the_committed_reports_is_made_in_five_seconds():
    start = time.process_time()
    assert (REPORTS / NAME).read_text() == overview.index(REPORTS)
    assert time.process_time() - start < 5


def test_the_index_names_every_artifact_and_counts_its_answers(tmp_path):
    folder = tmp_path / "practical/table-2/cpu"
    folder.mkdir(parents=True)
    origin = {"report": "practical/table-2", "data": ["<b>"], "budgets": ["cpu"], "environments": {"device": ["cpu"]}}
    runs = [{"seed": seed, "finished": f"2026-01-0{seed + 1}T00:00:00+0000"} for seed in range(2)]
    (folder / "provenance.json").write_text(json.dumps(origin | {"runs": runs}))
    (folder / "claims.csv").write_text("id,verdict\na,holds\nb,fails\nc,fails\n")
    found = Text(overview.index(tmp_path))
    assert "2026-01-02" in str(found) and "<b>" in str(found) and "Second-order Optimization Made" in str(found)
    assert re.search(r"1 holds 2 fails", str(found))
    assert ("a", {"href": "practical/table-2/cpu/index.html"}) in found.tags
    assert "fig-2" in str(found).partition("No report yet")[2]
