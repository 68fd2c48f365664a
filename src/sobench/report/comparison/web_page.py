"""The page of a comparison: verdicts, performance profiles, and every table with the seeds behind its numbers."""

from __future__ import annotations

from collections.abc import Sequence

from sobench.report.comparison.figure import Drawn
from sobench.report.comparison.page import Page, Section, unmarked
from sobench.report.comparison.study import Study
from sobench.report.lines import in_ticks, line
from sobench.report.web.charts import charts
from sobench.report.web.render import render
from sobench.report.web.runs import Runs, beginning
from sobench.report.web.tables import Cell, Grid


def page(shown: Page, drawn: Drawn, files: Sequence[str], depth: int) -> str:
    """The page. depth: that of its folder below the folder of all reports."""
    verdict, *sections = shown.sections
    runs = _runs(shown.study)
    return render(
        "comparison.html",
        title=shown.study.title,
        up="../" * depth,
        verdict=verdict.texts,
        answers=_grid(verdict),
        figure=charts(drawn.panels, drawn.entries, {}),
        sections=[(section, _grid(section)) for section in sections],
        facts=_facts(shown.study),
        runs=runs,
        beginning=beginning(runs),
        files=files,
    )


def _grid(section: Section) -> Grid | None:
    """The table of a section; None for one that has sentences alone."""
    if not section.rows:
        return None
    rows = [
        [_cell(section, row, column, text) for column, text in enumerate(texts)]
        for row, texts in enumerate(section.rows)
    ]
    words = [column for column in range(len(section.head)) if not any(_is_number(row[column]) for row in section.rows)]
    return Grid(section.title, section.head, rows, frozenset({0, *words}), notes=section.notes)


def _cell(section: Section, row: int, column: int, text: str) -> Cell:
    words, best = unmarked(text)
    rank, behind = "best" if best else "", section.behind.get((row, column))
    if behind is None:
        return Cell(line(words), rank)
    return Cell(line(words), rank, what="Seeds", behind=behind.seeds, cells=[behind.cell])


def _is_number(text: str) -> bool:
    return text.strip("*>± ")[:1].isdigit()


def _facts(study: Study) -> list[tuple[str, object]]:
    """What was compared, and how to make it again."""
    facts = [(problem.name, in_ticks(problem.title)) for problem in study.problems]
    versions = [(key.replace("_name", ""), line(", ".join(counts))) for key, counts in study.versions.items()]
    return [("Command", in_ticks(f"`{study.command}`")), ("Baseline", line(study.baseline)), *facts, *versions]


def _runs(study: Study) -> list[Runs]:
    """Each configuration with its method, its problem and its settings there, in order of the hashes."""
    found = [
        Runs(entry.cell, f"{method} on {problem.name}", study.own(problem, method), f"{study.command} --run")
        for problem in study.problems
        for method, entry in problem.entries.items()
    ]
    return sorted(found, key=lambda one: one.cell)
