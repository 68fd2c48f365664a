"""The pages over all written reports, README.md and index.html: what was run, and how the claims were answered."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sobench.errors import UsageError
from sobench.report import again, tune_pages, web
from sobench.report.claims import ANSWERS, FAILS, HOLDS, NOT_JUDGED, NOT_RUN, UNDECIDED
from sobench.report.comparison import files as comparison
from sobench.report.draft import drafted
from sobench.report.facts import budget_line
from sobench.report.formats import Markdown
from sobench.report.papers import papers
from sobench.report.schema.catalogue import read, reports
from sobench.report.web import index_page, report_page
from sobench.report.web.index_page import Entry, Item, Section
from sobench.system.text import format_ranges, plural

NAME = "README.md"
DEMO = "demo/"
"""The beginning of the ids, and of the folders, of demonstrations; they are left out."""
STATES = ("judged", "withdrawn", "no report yet")
PRECEDENCE = (FAILS, HOLDS, UNDECIDED, NOT_JUDGED, NOT_RUN)
"""The order in which the answers of several reports to one claim count: most reports ask for a part of the runs."""


@dataclass(frozen=True)
class Written:
    """A written report. date: of its last run, "2026-11-28". answers: one of `ANSWERS` for the id of each claim; None
    for a withdrawn report."""

    folder: Path
    artifact: str
    data: str
    budget: str
    seeds: str
    device: str
    date: str
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
            max((str(run.get("finished") or "")[:10] for run in origin["runs"]), default=""),
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
    """The reports below a folder, without tunings and comparisons. Raises UsageError for a folder without any."""
    return [Written.of(folder) for folder in again.folders([root]) if again.has_verdicts(folder)]


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
        if not report.artifact.startswith(DEMO):
            found.setdefault(report.artifact, []).append(report)
    return found


def write(root: Path) -> list[Path]:
    """Write the pages into the folder; their paths. Raises as `written`, and Failure if they cannot be written."""
    texts = {NAME: page(root), web.NAME: index(root)}
    with drafted(root, texts) as draft:
        for name, text in texts.items():
            (draft / name).write_text(text, encoding="utf-8")
    return [root / name for name in texts]


def _by_paper(root: Path) -> dict[str, Found]:
    """Of each paper all artifacts, those of sobench without a report too. Own reports are under `own`."""
    by_artifact: Found = {name: [] for name in reports() if not name.startswith(DEMO)} | _by_artifact(root)
    names = list(dict.fromkeys(name.partition("/")[0] for name in sorted(by_artifact)))
    return {paper: {a: found for a, found in by_artifact.items() if a.startswith(f"{paper}/")} for paper in names}


def page(root: Path) -> str:
    """The page in Markdown, with links relative to `root`. Raises as `written`."""
    of_paper = _by_paper(root)
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


def index(root: Path) -> str:
    """The page for a browser, with links relative to `root`. Raises as `written`."""
    by_paper = _by_paper(root)
    known = [paper for paper in papers() if paper in by_paper]
    others = [paper for paper in by_paper if paper not in known and f"{paper}/" != report_page.OWN]
    sections = [_section(root, paper, by_paper[paper]) for paper in (*known, *others)]
    own = _section(root, "own", by_paper.get("own", {}))
    folders = [folder for folder in again.folders([root]) if not folder.relative_to(root).as_posix().startswith(DEMO)]
    tunings = [Item(_key(folder, root), *_tuning(folder, root)) for folder in folders if again.is_tuning(folder)]
    compared = [_comparison(folder, root) for folder in folders if again.is_comparison(folder)]
    about = "Methods over one problem or many: the time to a target, and how sure the differences are."
    comparisons = Section("comparisons", "Comparisons", about, compared, Counter())
    more = [
        comparisons,
        own,
        Section("tuning", "Tuning", "The trials by which settings were chosen.", tunings, Counter()),
    ]
    return index_page.index(sections, [section for section in more if section.items])


def _section(root: Path, name: str, found: Found) -> Section:
    """The artifacts of a paper, those that have a report in the order of the table of contents."""
    paper = papers().get(name)
    title = paper.title if paper else "Own reports" if name == "own" else name
    about = f"{name}: {paper.authors}, {paper.published}" if paper else "Runs of our own, beside no published numbers."
    items = [
        Item(
            artifact.replace("/", "-"),
            artifact.partition("/")[2],
            Markdown.unescape(_title(artifact, of_one)),
            [_entry(root, report) for report in of_one],
        )
        for artifact, of_one in found.items()
    ]
    return Section(name, title, about, items, sum((total(of_one) for of_one in found.values()), Counter[str]()))


def _entry(root: Path, report: Written) -> Entry:
    folder = report.folder.relative_to(root).as_posix()
    answers = None if report.answers is None else total([report])
    remark = "no claim" if report.answers == {} else ""
    return Entry(folder, report.data, report.budget, report.seeds, report.device, report.date, answers, remark)


def _tuning(folder: Path, root: Path) -> tuple[str, str, list[Entry]]:
    """The name, the title and the page of a tuning."""
    with open(folder / tune_pages.TRIALS, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    name, _, place = folder.relative_to(root).as_posix().partition("/tune/")
    cells = plural(len({row["cell"] for row in rows}), "cell")
    remark = f"{plural(len(rows), 'trial')} of {cells}"
    return name, "", [Entry(f"{name}/tune/{place}", "", place.partition(",")[0], "", "", "", Counter(), remark)]


def _comparison(folder: Path, root: Path) -> Item:
    """The name, the title and the page of a comparison."""
    study = comparison.read(folder)
    seeds = format_ranges({seed for problem in study.problems for seed in problem.seeds})
    remark = f"{plural(len(study.methods), 'method')}, {plural(len(study.problems), 'problem')}"
    data = ", ".join(problem.name for problem in study.problems)
    place = folder.relative_to(root).as_posix()
    entry = Entry(place, data, "", seeds, ", ".join(study.versions.get("device_name", ())), "", Counter(), remark)
    return Item(_key(folder, root), place, study.title, [entry])


def _key(folder: Path, root: Path) -> str:
    """The place of a folder on the page."""
    return re.sub(r"[^A-Za-z0-9]+", "-", folder.relative_to(root).as_posix())


def described(root: Path) -> dict[str, str]:
    """The answers, or the state, of each artifact with a written report below `root`; {} if there is none."""
    if not root.is_dir() or not any(root.rglob(again.PROVENANCE)):
        return {}
    found = _by_artifact(root)
    return {a: in_words(total(f)) if state_of(f) == STATES[0] else state_of(f) for a, f in found.items()}
