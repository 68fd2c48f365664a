"""A table as CSV for programs, Markdown for people, and LaTeX (booktabs) for papers."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence

from sobench.report.schema.spec import Column
from sobench.report.table import BEST, SECOND, Cell, Contents


class Markdown:
    """The elements of a table in Markdown."""

    pm, dash = "±", "–"

    @staticmethod
    def escape(text: str) -> str:
        return "".join(f"\\{character}" if character in "\\|*_$" else character for character in text)

    @staticmethod
    def unescape(text: str) -> str:
        """The text that was escaped to this one."""
        return re.sub(r"\\([\\|*_$])", r"\1", text)

    @staticmethod
    def rank(text: str, rank: str | None) -> str:
        return {BEST: f"**{text}**", SECOND: f"<u>{text}</u>", None: text}[rank]

    @staticmethod
    def mark(mark: str) -> str:
        return f"<sup>{mark}</sup>"

    @staticmethod
    def row(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cells)} |"

    @classmethod
    def table(cls, head: Sequence[str], body: Sequence[Sequence[str]], numbers: bool = False) -> str:
        """A table; numbers: whether all columns but the first are aligned to the right."""
        rule = ["---", *["---:" if numbers else "---"] * (len(head) - 1)]
        return "\n".join(map(cls.row, [head, rule, *body]))


class Latex:
    """The elements of a table in LaTeX."""

    pm, dash = r"$\pm$", "--"
    _SPECIAL = {c: "\\" + c for c in "&%$#_{}"} | {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",  # in LaTeX's default font, <, > and | are other characters
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "–": "--",
        "\0": "{}",
    }
    _MATH = (
        "αalpha βbeta γgamma δdelta εepsilon ζzeta ηeta θtheta ιiota κkappa λlambda μmu νnu ξxi πpi ρrho σsigma τtau "
        "υupsilon φphi χchi ψpsi ωomega ΓGamma ΔDelta ΘTheta ΛLambda ΞXi ΠPi ΣSigma ΦPhi ΨPsi ΩOmega "
        "±pm ×times ·cdot ≤le ≥ge ≈approx ≠ne ∞infty →to"
    )
    _ESCAPES = _SPECIAL | {word[0]: rf"$\{word[1:]}$" for word in _MATH.split()}

    @classmethod
    def escape(cls, text: str) -> str:
        """The text as LaTeX prints it. Characters of other alphabets need LuaLaTeX or XeLaTeX."""
        apart = re.sub("(?<=[-–])(?=–)|(?<=–)(?=-)", "\0", text)  # LaTeX would join the dashes
        escaped = "".join(cls._ESCAPES.get(character, character) for character in apart)
        return "{}" + escaped if escaped.startswith(("[", "*")) else escaped  # else an option of the line above

    @staticmethod
    def rank(text: str, rank: str | None) -> str:
        return {BEST: rf"\textbf{{{text}}}", SECOND: rf"\underline{{{text}}}", None: text}[rank]

    @staticmethod
    def mark(mark: str) -> str:
        return rf"\textsuperscript{{{mark}}}"


HUGE = 1e7
"""From this size on, a number in a column of fixed decimals is written with an exponent."""
Format = type[Markdown] | type[Latex]


def to_csv(table: Contents) -> str:
    """A line for each method and column, with unrounded numbers, for programs."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(
        [
            "method",
            "label",
            "column",
            "metric",
            "at",
            "mean",
            "stderr",
            "n",
            "expected",
            "gaps",
            "published",
            "published_spread",
            "rank",
            "steps",
            "epochs",
            "footnote",
        ]
    )
    for row in table.rows:
        for column, cell in zip(table.columns, row.cells, strict=True):
            value, spread = _published(cell)
            writer.writerow(
                [
                    row.method,
                    row.label,
                    column.label,
                    column.metric.replace("{method}", row.method),
                    column.place,
                    _number(cell.ours.mean),
                    _number(cell.ours.stderr),
                    cell.ours.found,
                    cell.ours.expected,
                    cell.ours.gap,
                    value,
                    spread,
                    cell.rank or "",
                    row.steps,
                    row.epochs,
                    table.footnotes.get(cell.mark, ""),
                ]
            )
    return file.getvalue()


def to_markdown(table: Contents) -> str:
    head, body = _texts(table, Markdown)
    return Markdown.table(head, body, numbers=True) + "\n\n" + "  \n".join(_notes(table, Markdown)) + "\n"


def to_latex(table: Contents, caption: str) -> str:
    r"""A booktabs table; the document needs \usepackage{booktabs}."""
    head, body = _texts(table, Latex)
    rows = [" & ".join(row) + r" \\" for row in body]
    notes = [note + r"\par" for note in _notes(table, Latex)]
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{Latex.escape(caption)}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}",
            r"\toprule",
            " & ".join(head) + r" \\",
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}",
            "",
            r"\smallskip\footnotesize",
            *notes,
            r"\end{table}",
            "",
        ]
    )


def _texts(table: Contents, style: Format) -> tuple[list[str], list[list[str]]]:
    """Head and rows as text: each column with our and, if there are any, published values; n, steps, epochs."""
    head = ["Method"]
    for column in table.columns:
        head += [style.escape(column.label)] + ([style.escape(column.published_as)] if column.published else [])
    body = []
    for row in table.rows:
        line = [style.escape(row.label)]
        for column, cell in zip(table.columns, row.cells, strict=True):
            line.append(_ours(cell, column, style))
            if column.published:
                line.append(_theirs(cell, column, style))
        found = dict.fromkeys(f"{cell.ours.found}/{cell.ours.expected}" for cell in row.cells)
        body.append(line + [", ".join(found), row.steps or style.dash, row.epochs or style.dash])
    return head + ["n", "steps", "epochs"], body


def _notes(table: Contents, style: Format) -> list[str]:
    marked = [f"{style.mark(mark)} {style.escape(text)}" for mark, text in table.footnotes.items()]
    return marked + [style.escape(text) for text in table.notes]


def _ours(cell: Cell, column: Column, style: Format) -> str:
    mark = style.mark(cell.mark) if cell.mark else ""
    mean, spread, gap = map(style.escape, ours_in_words(cell, column))
    if not mean:
        return (gap or "missing") + mark
    text = mean + (f" {style.pm} {spread}" if spread else "")
    return style.rank(text, cell.rank) + mark + (f" ({gap})" if gap else "")


def ours_in_words(cell: Cell, column: Column) -> tuple[str, str, str]:
    """The mean, its standard error and the gap of our value; "" for each that is missing."""
    ours, mean, spread = cell.ours, "", ""
    if not math.isnan(ours.mean):
        mean = _format(ours.mean, column.format)
        if math.isfinite(ours.stderr):
            spread = _format(ours.stderr, ".2g" if column.format.endswith("g") else column.format)
    return mean, spread, ours.gap


def published_in_words(cell: Cell, column: Column) -> list[str]:
    """The published value and its spread, as far as the paper gives them."""
    return [format(number, column.format) for number in _published(cell) if number != ""]


def _format(value: float, style: str) -> str:
    """The value in a column's format; a loss of 4.6e17 is not written with all its digits."""
    fixed = re.fullmatch(r"\.[1-9]\d*f", style)
    return f"{value:.3g}" if fixed and abs(value) >= HUGE else format(value, style)


def _theirs(cell: Cell, column: Column, style: Format) -> str:
    return f" {style.pm} ".join(map(style.escape, published_in_words(cell, column))) or style.dash


def _published(cell: Cell) -> tuple[float | str, float | str]:
    """The published value and its spread; "" for each that is missing."""
    if cell.published is None:
        return "", ""
    if isinstance(cell.published, list):
        value, spread = cell.published
        return value, spread
    return cell.published, ""


def _number(value: float) -> str:
    return repr(value) if math.isfinite(value) else ""
