"""One page over all written reports: for every artifact what was run, and how its claims were answered."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sobench.errors import Failure, UsageError
from sobench.report import again
from sobench.report.claims import ANSWERS, FAILS, HOLDS, NOT_JUDGED, NOT_RUN, UNDECIDED
from sobench.report.formats import Markdown
from sobench.report.pages import budget_line
from sobench.report.schema.catalogue import read, reports
from sobench.system.files import write_atomically
from sobench.system.text import format_ranges

NAME = "README.md"
DEMO = "demo/"
"""The beginning of the ids that belong to no paper; they are left out."""
STATES = ("judged", "withdrawn", "no report yet")
PRECEDENCE = (FAILS, HOLDS, UNDECIDED, NOT_JUDGED, NOT_RUN)
"""The order in which the answers of several reports to one claim count: most reports ask for a part of the runs."""


@dataclass(frozen=True)
class Written:
    """A written report. answers: one of `ANSWERS` for the id of each claim; None for a withdrawn report."""

    folder: Path
    artifact: str
    data: str
    budget: str
    seeds: str
    device: str
    answers: dict[str, str] | None

    @classmethod
    def of(cls, folder: Path) -> Written:
        """The report in a folder. Raises Failure for a provenance that cannot be read."""
        origin = again.provenance_of(folder)
        return cls(
            folder,
            origin["report"],
            ", ".join(origin["data"]),
            "; ".join(dict.fromkeys(map(budget_line, origin["budgets"]))),
            format_ranges({run["seed"] for run in origin["runs"]}),
            ", ".join(origin["environments"]["device"]),
            None if again.is_withdrawn(folder) else _answers(folder / "claims.csv"),
        )


def _answers(path: Path) -> dict[str, str]:
    """The answers in a claims.csv; none for a report without claims."""
    if not path.exists():
        return {}
    with open(path, encoding="utf-8", newline="") as file:
        return {row["id"]: row["verdict"] for row in csv.DictReader(file)}


Found = dict[str, list[Written]]
"""The written reports by artifact."""


def written(root: Path) -> list[Written]:
    """The written reports below a folder, without those of tunings. Raises UsageError for a folder without any."""
    return [Written.of(folder) for folder in again.folders([root]) if not again.is_tuning(folder)]


def state_of(found: Sequence[Written]) -> str:
    """One of STATES, for the written reports of one artifact: `judged` if any of them is."""
    if any(report.answers is not None for report in found):
        return STATES[0]
    return STATES[1] if found else STATES[2]


def in_words(answers: Counter[str]) -> str:
    """ "2 holds, 1 not judged" """
    return ", ".join(f"{answers[name]} {name}" for name in ANSWERS if answers[name]) or "no claim"


def total(found: Iterable[Written]) -> Counter[str]:
    """The number of claims of one artifact with each answer. Each counts once, with the first of PRECEDENCE."""
    answers: dict[str, list[str]] = {}
    for report in found:
        for claim, answer in (report.answers or {}).items():
            answers.setdefault(claim, []).append(answer)
    return Counter(min(of_claim, key=PRECEDENCE.index) for of_claim in answers.values())


def _by_artifact(root: Path) -> Found:
    found: Found = {}
    for report in written(root):
        found.setdefault(report.artifact, []).append(report)
    return found


def write(root: Path) -> Path:
    """Write the page into the folder; its path. Raises as `written`, and Failure if it cannot be written."""
    file, text = root / NAME, page(root)
    try:
        write_atomically(file, text.encode())
    except OSError as error:
        raise Failure(f"reports: cannot write {file}: {error.strerror or error}") from error
    return file


def page(root: Path) -> str:
    """The page in Markdown, with links relative to `root`. Raises as `written`."""
    by_artifact: Found = {name: [] for name in reports() if not name.startswith(DEMO)} | _by_artifact(root)
    papers = list(dict.fromkeys(name.partition("/")[0] for name in sorted(by_artifact)))
    of_paper = {paper: {a: found for a, found in by_artifact.items() if a.startswith(f"{paper}/")} for paper in papers}
    parts = [
        "# Reports",
        "This page is made by `sobench report --overview`. An artifact is a table or a figure of a paper, or a "
        "comparison of our own. It counts as judged if the claims of one of its reports are. The runs of a withdrawn "
        "report were not kept: it has its table and figure, but no claim is judged. A claim with several reports "
        f"counts once, with the first of its answers in this order: {', '.join(PRECEDENCE)}.",
        _summary(of_paper),
        *(f"## {paper}\n\n{_of_paper(root, found)}" for paper, found in of_paper.items()),
    ]
    return "\n\n".join(parts) + "\n"


def _summary(of_paper: dict[str, Found]) -> str:
    rows = [[f"[{paper}](#{paper})", *_counts(found)] for paper, found in of_paper.items()]
    together = {artifact: found for of_one in of_paper.values() for artifact, found in of_one.items()}
    rows.append(["all", *_counts(together)])
    return Markdown.table(["paper", "artifacts", *STATES, *ANSWERS], rows, numbers=True)


def _counts(found: Found) -> list[str]:
    states = Counter(map(state_of, found.values()))
    answers = sum((total(of_one) for of_one in found.values()), Counter[str]())
    return [str(len(found)), *(str(states[name]) for name in STATES), *(str(answers[name]) for name in ANSWERS)]


def _of_paper(root: Path, found: Found) -> str:
    rows = [row for artifact, of_one in found.items() for row in _of_artifact(root, artifact, of_one)]
    return Markdown.table(["artifact", "report", "data", "budget", "seeds", "device", "answers"], rows)


def _of_artifact(root: Path, artifact: str, found: Sequence[Written]) -> list[list[str]]:
    name = artifact.partition("/")[2]
    if not found:
        return [[f"{name}: {_title(artifact, found)}", STATES[2], *[""] * 5]]
    first = [f"{name}: {_title(artifact, found)}", *[""] * (len(found) - 1)]
    return [[text, *_facts(root, report)] for text, report in zip(first, found)]


def _title(artifact: str, found: Sequence[Written]) -> str:
    """The title of an artifact; of a report without a description among those of sobench, that of its folder."""
    if artifact in reports():
        return Markdown.escape(read(artifact).title)
    try:
        return Markdown.escape(again.report_of(found[0].folder).title)
    except UsageError:
        return "a report without description"


def _facts(root: Path, report: Written) -> list[str]:
    link = report.folder.relative_to(root).as_posix()
    facts = [report.data, report.budget, report.seeds, report.device]
    answers = STATES[1] if report.answers is None else in_words(total([report]))
    return [f"[{Markdown.escape(report.folder.name)}](<{link}/report.md>)", *map(Markdown.escape, facts), answers]


def described(root: Path) -> dict[str, str]:
    """The answers, or the state, of each artifact with a written report below `root`; {} if there is none."""
    if not root.is_dir() or not any(root.rglob(again.PROVENANCE)):
        return {}
    found = _by_artifact(root)
    return {a: in_words(total(f)) if state_of(f) == STATES[0] else state_of(f) for a, f in found.items()}
