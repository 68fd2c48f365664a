"""The committed pages in headless Chromium: the script, narrow screens, and the rules of the accessibility checker axe.

They need Chromium and the extra `browser`.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sobench.report.web import NAME
from sobench.system.files import CHECKOUT

playwright = pytest.importorskip("playwright.sync_api", reason="needs the extra `browser`")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs the extra `browser`")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="needs Chromium"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
REPORTS = CHECKOUT / "reports"
TEMPLATES = CHECKOUT / "src/sobench/report/web/templates"
PAGES = {
    "index": REPORTS / NAME,
    "claims and figure": REPORTS / "practical/fig-5/cpu" / NAME,
    "table": REPORTS / "practical/table-3/cpu" / NAME,
    "contours": REPORTS / "kbfgs20/fig-2.4/cpu,seed=0,1" / NAME,
    "own": REPORTS / "zoo/vit-cpu" / NAME,
    "withdrawn": REPORTS / "groupednewton/fig-1/paper,device=cuda,model=lenet,seed=0,1,2" / NAME,
    "tuning": REPORTS / "zoo/vit/tune/cpu" / NAME,
    "comparison": REPORTS / "compare/digits" / NAME,
}


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser):
    """A function that opens a page; at the end nothing was asked for beside files, and the console is empty."""
    contexts, wrong = [], []

    def open_page(path: Path, *, width: int = 1280, scheme: str = "light", script: bool = True):
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, java_script_enabled=script
        )
        contexts.append(context)
        page = context.new_page()
        page.on(
            "request", lambda request: None if request.url.startswith(("file:", "data:")) else wrong.append(request.url)
        )
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(path.resolve().as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not wrong


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES.values(), ids=PAGES)
def test_axe_finds_nothing(opened, path, scheme):
    found = axe.Axe().run(opened(path, scheme=scheme))
    lines = [
        f"{one['id']}: {one['help']}: {[node['html'][:200] for node in one['nodes'][:3]]}"
        for one in found.response["violations"]
    ]
    assert not lines


@pytest.mark.parametrize("script", [True, False])
@pytest.mark.parametrize("path", PAGES.values(), ids=PAGES)
def test_a_narrow_screen_shows_a_page_without_scrolling_sideways(opened, path, script):
    page = opened(path, width=320, script=script)
    box = page.locator("html").bounding_box()
    wide = page.locator("body").bounding_box()
    assert wide["width"] <= box["width"] <= 320
    if script:
        assert page.evaluate("document.documentElement.scrollWidth") <= 320


def test_without_its_script_everything_is_there(opened):
    page = opened(PAGES["own"], script=False)
    assert page.locator("figure").count() == page.locator("figure:visible").count() > 2
    assert page.locator("thead button").count() == 0 and page.locator("fieldset.x").is_hidden()
    assert page.locator(".e input:visible").count() == 0
    summary = page.locator("table summary").first
    summary.click()
    assert "Seeds 0: 0.963889; 1: 0.961111; 2: 0.95" in summary.locator("xpath=..").inner_text()


LOOKS = """() => [...document.querySelectorAll("*")].flatMap((e) => ["", "::before", "::after"].map((part) => {
    const style = getComputedStyle(e, part);
    return e.tagName + part + [...style].map((name) => name + style.getPropertyValue(name)).join(";");
}))"""
"""The computed style of every element of a page."""


@pytest.mark.parametrize("width", [320, 1280])
@pytest.mark.parametrize("path", PAGES.values(), ids=PAGES)
def test_the_rules_that_a_page_leaves_out_change_nothing(opened, path, width):
    page = opened(path, width=width)
    summary = page.locator("td summary").first
    if path != PAGES["index"] and summary.count():
        summary.click()  # the script makes a dialog
        assert page.locator("dialog").count() == 1
    own = page.locator("style")
    short, whole = own.text_content(), (TEMPLATES / "style.css").read_text()
    before = page.evaluate(LOOKS)
    own.evaluate("(style, text) => style.textContent = text", whole)
    assert len(short) < len(whole) / 1.2 and page.evaluate(LOOKS) == before
    own.evaluate("(style) => style.textContent = ''")
    assert page.evaluate(LOOKS) != before


def column(page, place: int) -> list[str]:
    return page.locator(f"table.s >> nth=0 >> css=tbody tr > :nth-child({place})").all_inner_texts()


def test_a_table_is_sorted_by_its_headings_also_with_the_keyboard(opened):
    page = opened(PAGES["table"])
    before = column(page, 2)
    heading = page.locator("table.s thead th").nth(1)
    heading.locator("button").focus()
    page.keyboard.press("Enter")
    values = [float(text.split(" ")[0]) for text in column(page, 2)]
    assert values == sorted(values) and heading.get_attribute("aria-sort") == "ascending"
    page.keyboard.press("Space")
    values = [float(text.split(" ")[0]) for text in column(page, 2)]
    assert values == sorted(values, reverse=True) and heading.get_attribute("aria-sort") == "descending"
    assert sorted(before) == sorted(column(page, 2))
    page.locator("table.s thead th").nth(0).locator("button").click()
    assert heading.get_attribute("aria-sort") is None
    assert column(page, 1) == sorted(column(page, 1), key=str.lower)


def test_a_number_opens_its_seeds_its_command_and_the_hash_of_its_runs(opened):
    page = opened(PAGES["table"])
    summary = page.locator("tbody tr summary").first
    summary.focus()
    page.keyboard.press("Enter")
    text = page.locator("dialog").inner_text()
    assert "SGD: Test accuracy" in text and "; 4: 0.9236" in text and "25a12d949194" in text
    command = "sobench run -m experiment=practical/table-3 'hydra.sweeper.cells=[]' budget=cpu seed=0,1,2,3,4 "
    assert f"{command}optimizer=sgd optimizer.lr=0.1" in text
    assert not axe.Axe().run(page).response["violations"]
    page.keyboard.press("Escape")
    page.locator("dialog").wait_for(state="detached", timeout=5_000)


def test_methods_and_axes_are_chosen(opened):
    page = opened(PAGES["own"])
    groups, shown = page.locator(".c > div").count(), page.locator("figure:visible").count()
    assert shown == groups < page.locator("figure").count()
    first = page.locator("figure:visible").first
    before = first.get_attribute("data-x")
    page.locator("fieldset.x input").nth(1).check()
    assert page.locator("figure:visible").first.get_attribute("data-x") != before
    assert page.locator("figure:visible").count() == groups
    lines = page.locator("figure:visible .m0").first
    assert lines.is_visible()
    page.locator(".e input").first.uncheck()
    assert not lines.is_visible() and page.locator("figure:visible .m1").first.is_visible()


def test_the_index_is_filtered_by_text(opened):
    page = opened(PAGES["index"])
    every = page.locator("tbody:visible").count()
    page.locator("input[type=search]").fill("kernelsgd usps undecided")
    some = page.locator("tbody:visible")
    assert 0 < some.count() < every and all("usps" in text for text in some.all_inner_texts())
    assert page.locator("output").inner_text() == f"{some.count()} shown"
    page.locator("input[type=search]").fill("no such report")
    assert page.locator("tbody:visible").count() == page.locator("section:visible").count() == 0
    page.locator("input[type=search]").fill("")
    assert page.locator("tbody:visible").count() == every
