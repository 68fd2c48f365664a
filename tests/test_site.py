"""The documentation site: its docstrings, its table of contents, and the build, in which a warning is an error."""

import importlib.util
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from urllib.parse import unquote

import pytest

from sobench.config.registry import members
from sobench.system.files import CHECKOUT

DOCS = CHECKOUT / "docs"
FETCHED = {"img": "src", "script": "src", "link": "href", "iframe": "src", "source": "src"}
"""The attribute with which an element of a page makes a browser fetch something."""


def extension(name: str):
    spec = importlib.util.spec_from_file_location(name, DOCS / f"_extensions/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def shown(*lines: str) -> list[str]:
    """The docstring as reStructuredText, without empty lines."""
    return [line for line in extension("docstrings").restructured(lines) if line]


def test_text_of_a_docstring_stands_for_itself():
    assert shown("Stops at ||r|| <= tol, with x_ and *args.") == [r"Stops at \|\|r\|\| \<= tol, with x\_ and \*args\."]


def test_code_of_a_docstring_is_code():
    assert shown("See `step(f)`.") == [r"See ``step(f)``\ \."]


def test_an_indented_paragraph_is_shown_as_it_is():
    assert shown("The loss:", "", "    f = *g* + |h|", "", "    f = 0", "", "It ends.") == [
        "The loss\\:",
        "::",
        "    f = *g* + |h|",
        "    f = 0",
        r"It ends\.",
    ]


def test_lines_that_begin_with_a_name_are_a_list():
    assert shown("x: the iterate, which", "    may be 0.", "status: the reason.") == [
        r"- ``x``: the iterate, which may be 0\.",
        r"- ``status``: the reason\.",
    ]
    assert shown("rules: the rule of each, and", "the rest.") == ["rules\\: the rule of each, and", r"the rest\."]


def test_dashes_are_a_list():
    assert shown("- one,", "  and more", "- two") == ["- one, and more", "- two"]


def test_every_page_has_a_place_in_the_table_of_contents():
    contents = re.findall(r"```\{toctree\}\n(.*?)```", (DOCS / "index.md").read_text(), re.DOTALL)
    listed = [line for text in contents for line in text.split() if not line.startswith(":")]
    assert {path.stem for path in DOCS.glob("*.md")} - {"index"} <= set(listed)
    assert len(listed) == len(set(listed))


# The build


class _Page(HTMLParser):
    """What a page fetches, its images, where its links lead, and the ids of its elements."""

    def __init__(self, path: Path):
        super().__init__()
        self.fetched, self.images, self.links, self.ids = [], [], [], set()
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if "id" in given:
            self.ids.add(given["id"])
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag == "img":
            self.images.append(given)
        if FETCHED.get(tag) in given:
            self.fetched.append(given[FETCHED[tag]])


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    pytest.importorskip("furo")
    pytest.importorskip("myst_parser")
    out = tmp_path_factory.mktemp("site")
    words = ["-c", "docs", "-W", "--keep-going", "--quiet", "-d", str(out / "kept"), ".", str(out / "html")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *words], cwd=CHECKOUT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return out / "html"


@pytest.mark.slow
def test_the_site_has_every_page_and_fetches_nothing(site):
    pages = {path.relative_to(site): _Page(path) for path in site.rglob("*.html")}
    assert {f"{path.stem}.html" for path in DOCS.glob("*.md")} <= {
        path.name for path in pages if path.parts[0] == "docs"
    }
    fetched = [place for page in pages.values() for place in page.fetched]
    assert fetched and not [place for place in fetched if "//" in place]
    styles = "".join(path.read_text("utf-8") for path in site.rglob("*.css"))
    assert not re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", styles)


@pytest.mark.slow
def test_the_gallery_has_every_figure_with_a_report(site):
    gallery = _Page(site / "docs/gallery.html")
    figures = [path for path in (CHECKOUT / "reports").rglob("figure.png") if path.with_name("report.md").is_file()]
    shown_ = [image for image in gallery.images if image["alt"].startswith("Figure of ")]
    figures = [path for path in figures if path.relative_to(CHECKOUT).parts[1] != "demo"]
    assert len(shown_) == len(figures) > 30


@pytest.mark.slow
def test_every_link_of_the_site_leads_somewhere(site):
    pages = {path: _Page(path) for path in site.rglob("*.html")}
    own = [(path, link) for path, page in pages.items() for link in page.links if not re.match(r"\w+:", link)]
    broken = [(path.name, link) for path, link in own if not leads_somewhere(pages, path, link)]
    assert len(own) > 1_000 and not broken


def leads_somewhere(pages: dict[Path, _Page], here: Path, link: str) -> bool:
    file, _, place = unquote(link).partition("#")
    target = Path(os.path.normpath(here.parent / file)) if file else here
    return target.is_file() and (not place or place in pages[target].ids)


@pytest.mark.slow
def test_the_reference_has_every_public_name_and_every_optimizer(site):
    ids = _Page(site / "docs/api.html").ids
    for package in ("sobench.objective", "sobench.linalg", "sobench.results"):
        assert {f"{package}.{name}" for name in import_module(package).__all__} <= ids
    assert {"sobench.losses.CrossEntropy", "sobench.optim.base.SecondOrderOptimizer", "sobench.load_optimizer"} <= ids
    settings = _Page(site / "docs/settings.html").ids
    ours = {f"optimizer-{path.stem}" for path in (CHECKOUT / "conf/optimizer").glob("*.yaml")}
    assert ours <= settings and "kfac" in members("optimizer")
