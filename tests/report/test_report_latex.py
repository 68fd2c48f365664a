"""The LaTeX of a table: every character of a label is printed as it is, and every table compiles."""

import itertools
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sobench.report import formats, read, reports
from sobench.report.schema.spec import Column
from sobench.report.table import BEST, SECOND, Cell, Contents, Row
from sobench.results.aggregate import Aggregate

ROOT = Path(__file__).parents[2]
WRITTEN = sorted((ROOT / "reports").rglob("table.tex"))
SPECIALS = "$ % & _ # { } ~ ^ \\ < > | [ ] * - ± – λ × ≤ é @ ! ? / = + ( ) , ; : ' ."

TOKEN = re.compile(r"\\text(\w+)\{\}|\\([&%$#_{}])|\$\\(\w+)\$|(\{\})|(--)|([^\\{}$&%#_^~<>|±–])")
"""The pieces of an escaped text; a special character alone is none of them."""
NAMED = {
    "backslash": "\\",
    "asciitilde": "~",
    "asciicircum": "^",
    "less": "<",
    "greater": ">",
    "bar": "|",
    "lambda": "λ",
    "times": "×",
    "le": "≤",
    "pm": "±",
}


def printed(tex: str) -> str:
    """What LaTeX prints for an escaped text. Fails for a character that LaTeX would not print."""
    text, place = [], 0
    while place < len(tex):
        token = TOKEN.match(tex, place)
        assert token, f"{tex!r} at {place}: {tex[place:]!r}"
        word, character, mathematics, empty, dash, plain = token.groups()
        text.append(NAMED[word or mathematics] if word or mathematics else character or (dash and "–") or plain or "")
        assert token[0] or empty
        place = token.end()
    return "".join(text)


@given(st.lists(st.sampled_from(SPECIALS.split() + ["a", "7", " "]), max_size=12).map("".join))
@settings(max_examples=300, deadline=None)
def test_every_character_is_printed_as_it_is(text):
    escaped = formats.Latex.escape(text)
    assert printed(escaped) == text.replace("--", "–")  # LaTeX joins two hyphens itself
    assert not escaped.startswith(("[", "*")), "the line above, `\\\\` or \\midrule, would take it for its option"


def test_shipped_texts_with_plain_characters_are_unchanged():
    for text in ("Hessian-free (N = 3, 5)", "K-FAC's step [s]", 'a/b: c.d + 1e-05 = 2; "x" `y` @ ! ?', "café"):
        assert formats.Latex.escape(text) == text


def a_table(methods: dict[str, str], columns: list[Column]) -> Contents:
    """A table with every kind of cell: ranked, marked, with a gap, without a value."""
    values = itertools.cycle(
        [
            (Aggregate({0: 0.9123, 1: 0.91}, 2), BEST, ""),
            (Aggregate({0: 12345.678}, 2, {"diverged": 1}), SECOND, "a"),
            (Aggregate({}, 2, {"missing": 2}), None, ""),
            (Aggregate({0: -1e-7, 1: 3e-5}, 2), None, "b"),
        ]
    )
    rows = [
        Row(
            method,
            label,
            [Cell(ours, c.published.get(method), rank, mark) for c, (ours, rank, mark) in zip(columns, values)],
            "6,566",
            "40 to 60",
        )
        for method, label in methods.items()
    ]
    return Contents(columns, rows, {"a": "hf_newton: cut to 10 of 20 steps", "b": "x_y: 50% & more"}, ["Mean ± error."])


def shipped() -> dict[str, str]:
    """The LaTeX of a table for each description that ships, by its id."""
    tables = {}
    for name in reports():
        report = read(name)
        if report.table:
            methods = {method: entry.label for method, entry in report.methods.items()}
            tables[name] = formats.to_latex(a_table(methods, report.columns), f"{report.title} ({report.source}).")
    return tables


def of_every_format() -> dict[str, str]:
    """Tables with each kind of number format, and with special characters in every place of a text."""
    published = {"sgd": 0.91, "newton": [0.5, 0.02]}
    formatted = [
        Column("m", f"as {f}", f, published=published)
        for f in (".1%", "%", ".3g", ",.0f", "_.0f", "#>9.2f", "{^9.2f", "+.1e")
    ]
    labelled = [Column("m", f"{place}{c}{place[:1]}", ".0%") for c in SPECIALS.split() for place in ("", "a b")]
    methods = {f"m{i}": f"{c} {c}{c} x{c}" for i, c in enumerate(SPECIALS.split())}
    return {
        "formats": formats.to_latex(a_table({"sgd": "SGD", "newton": "Newton's"}, formatted), "100% of a_b & c"),
        "columns": formats.to_latex(a_table({"sgd": "SGD"}, labelled[:12]), SPECIALS),
        "more columns": formats.to_latex(a_table({"sgd": "SGD"}, labelled[12:24]), "x^2_i ~ $5 {#1} \\input"),
        "rows": formats.to_latex(a_table(methods, formatted[:2]), "c"),
    }


def check_structure(tex: str) -> None:
    """Braces and environments close, and the rows of the table have as many cells as it has columns."""
    assert tex.isprintable() or set(tex) - {"\n"}
    bare = re.sub(r"\\[\\&%$#_{}]", "", tex)
    depth = 0
    for character in bare:
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0 and bare.count("$") % 2 == 0
    assert "%" not in bare and "#" not in bare and "~" not in bare
    assert re.findall(r"\\begin\{(\w+)\}", bare) == re.findall(r"\\end\{(\w+)\}", bare)[::-1]
    columns = len(re.search(r"\\begin\{tabular\}\{(\w+)\}", tex)[1])
    lines = [line for line in tex.splitlines() if line.endswith(r" \\")]
    assert len(lines) > 1
    for line in lines:
        assert len(re.sub(r"\\[\\&%$#_{}]", "", line.removesuffix(r" \\")).split("&")) == columns, line


@pytest.mark.parametrize("make", [shipped, of_every_format])
def test_the_structure_of_a_table(make):
    tables = make()
    assert tables
    for tex in tables.values():
        check_structure(tex)


@pytest.mark.parametrize("file", WRITTEN, ids=lambda path: str(path.parent.relative_to(ROOT)))
def test_the_structure_of_a_table_that_was_written(file):
    check_structure(file.read_text())


def test_a_percentage_is_escaped():
    tex = of_every_format()["formats"]
    assert r"\textbf{91.1\% $\pm$ 0.1\%} & 91.0\% &" in tex
    assert r"91.0\%" in tex and r"50.0\% $\pm$ 2.0\%" in tex


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no pdflatex (TeX Live) on this machine")
def test_latex_compiles_every_table(tmp_path):
    """The tables of all descriptions, those of awkward labels, and those in reports/, in one document."""
    tables = shipped() | of_every_format() | {str(path): path.read_text() for path in WRITTEN}
    document = [r"\documentclass{article}", r"\usepackage{booktabs}", r"\begin{document}"]
    for tex in tables.values():
        document += [tex, r"\clearpage"]
    (tmp_path / "all.tex").write_text("\n".join([*document, r"\end{document}", ""]), "utf-8")
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "all.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=280)
    assert done.returncode == 0, "\n".join(line for line in done.stdout.splitlines() if line.startswith(("!", "l.")))
    assert f"({len(tables)} pages" in done.stdout
    assert "Missing character" not in done.stdout
