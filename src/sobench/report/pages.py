"""The pages of a report: report.md, and its claims as Markdown and CSV."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter

from sobench.config.names import part_of_data
from sobench.report import data_sets
from sobench.report.choice import section
from sobench.report.claims import ALPHA, Verdict, counted
from sobench.report.evidence import Evidence
from sobench.report.figures.caption import caption
from sobench.report.formats import Markdown
from sobench.report.looks import LOOKS, Looks
from sobench.report.paired import NONE
from sobench.report.papers import papers
from sobench.report.parts import shown, shown_interval
from sobench.report.provenance import BY_NEED
from sobench.report.schema.spec import Report
from sobench.report.settings import of_group, settings_of_methods
from sobench.system.text import plural

_escape = Markdown.escape
_COLUMNS = ("id", "verdict", "effect", "low", "high", "p", "adjusted_p", "n", "expected", "test", "reason", "more")
_COLUMNS += ("reading_without_verdict", "details", "source", "text", "reading")


def claims_csv(verdicts: list[Verdict]) -> str:
    """Every claim of the report, also those of which no run was asked for. An unknown number is an empty cell."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for v in verdicts:
        numbers = [_number(x) for x in (v.effect, v.low, v.high, v.p, v.adjusted)]
        claim = v.claim
        texts = [v.test, v.reason, v.more, v.reading, "; ".join(v.details), claim.source, claim.text, claim.reading]
        writer.writerow([claim.id, v.verdict, *numbers, v.n, v.expected, *texts])
    return file.getvalue()


def _number(value: float) -> str:
    return "" if math.isnan(value) else repr(value) if math.isfinite(value) else shown(value)


def claims_markdown(verdicts: list[Verdict]) -> str:
    """A block for each claim: the sentence, our reading of it, the answer and its numbers."""
    blocks = []
    for v in verdicts:
        if not v.asked:
            continue
        lines = [
            f"### {_escape(v.claim.id)}: {v.verdict}",
            "",
            f"> {_escape(v.claim.text)}",
            f"> ({_escape(v.claim.source)})",
            "",
        ]
        if v.claim.reading:
            lines += [f"Read as: {_escape(v.claim.reading)}", ""]
        lines += [f"{_answer(v)}. {_statistics(v)}", ""]
        if v.reading:
            lines += [f"Reading, not a verdict: {_escape(v.reading)}.", ""]
        lines += [f"- {_escape(detail)}" for detail in v.details]
        blocks.append("\n".join(lines).rstrip())
    footer = (
        f"A claim is answered if its adjusted p value is below {ALPHA}. `p` is of what the verdict says: of the "
        "opposite, where it fails; of `holds`, where it is undecided. The adjusted p value is by Holm's method over "
        "all claims of the report about outcomes; a cost (memory, the time of a step) is tested by itself. The "
        "interval is that of Student at 95 %. A run that diverged counts as worse than any that finished."
    )
    return "\n\n".join([*blocks, footer]) + "\n"


def _answer(v: Verdict) -> str:
    """ "**undecided**: about 4 more seeds" """
    why = "; ".join(text for text in (v.reason, v.more and f"{v.more} would decide") if text)
    return f"**{v.verdict}**" + (f": {_escape(why)}" if why else "")


def _statistics(v: Verdict) -> str:
    """ "Paired t-test, p = 0.01, adjusted 0.04, 5 of 5 seeds." """
    test = "" if v.test == NONE else f"{v.test[0].upper()}{v.test[1:]}, "
    p = "" if math.isnan(v.p) else f"p = {shown(v.p)}, adjusted {shown(v.adjusted)}, "
    return f"{test}{p}{v.n} of {v.expected} seeds."


def report_markdown(evidence: Evidence, provenance: dict, table: str | None, verdicts: list[Verdict]) -> str:
    """The page: title, source, facts about data, budget and runs; table, figure, claims, settings, notes."""
    report = evidence.report
    parts = [f"# {_escape(report.title)}", _escape(report.source) + ".", _facts(report, provenance)]
    if table:
        parts += ["## Table", table.rstrip()]
    if report.figure:
        marks = caption(report, provenance["states"])
        parts += ["## Figure", "![figure](figure.png)", f"{marks} [As PDF](figure.pdf)."]
    if report.choice:
        parts += ["## Choice of the settings", section(evidence, report.choice)]
    if verdicts:
        parts += ["## Claims", _overview(verdicts) + _left_out(verdicts), claims_markdown(verdicts).rstrip()]
    if of_methods := settings_of_methods(evidence, provenance):
        parts += ["## Settings", of_methods]
    notes = [note.text for note in report.notes if not note.where or evidence.results.select(note.where)]
    if notes:
        parts += ["## Notes", "\n".join(f"- {_escape(note)}" for note in notes)]
    return "\n\n".join(parts) + "\n"


def _overview(verdicts: list[Verdict]) -> str:
    """The counts of the answers, a table of the claims, and the readings that are no verdicts."""
    judged = [v for v in verdicts if v.asked]
    rows = [
        [
            _escape(v.claim.id),
            _escape(v.claim.text),
            _escape(v.claim.reading) or "as it stands",
            _answer(v),
            f"{v.n} of {v.expected}",
            _effect(v),
            _or_dash(v.p),
            _or_dash(v.adjusted),
        ]
        for v in judged
    ]
    head = ["claim", "the paper says", "we read it as", "answer", "n", "effect [95 % interval]", "p", "adjusted p"]
    lines = [f"{counted(v.verdict for v in verdicts)}.", "", Markdown.table(head, rows)]
    readings = [f"- {_escape(v.claim.id)}: {_escape(v.reading)}" for v in judged if v.reading]
    if readings:
        lines += [
            "",
            "Readings of runs that decide nothing. They are not verdicts, and are not counted:",
            "",
            *readings,
        ]
    return "\n".join(lines)


def _effect(v: Verdict) -> str:
    return "–" if math.isnan(v.effect) else f"{shown(v.effect)}{_escape(shown_interval(v.low, v.high))}"


def _or_dash(p: float) -> str:
    return "–" if math.isnan(p) else shown(p)


def _left_out(verdicts: list[Verdict]) -> str:
    absent = [_escape(v.claim.id) for v in verdicts if not v.asked]
    return f"\n\nLeft out, as no run of theirs was asked for: {', '.join(absent)}." if absent else ""


def _facts(report: Report, provenance: dict) -> str:
    seeds, environments, paper = provenance["seeds"], provenance["environments"], papers().get(report.paper)
    states = ", ".join(f"{count} {status}" for status, count in provenance["states"].items())
    budgets = "; ".join(budget_line(budget) for budget in provenance["budgets"]) or "not recorded"
    machine = ", ".join(str(name) for name in environments["device_name"] or environments["device"]) or "not recorded"
    versions = ", ".join(
        f"{name} {'/'.join(map(str, environments[name]))}" for name in ("sobench", "torch") if environments[name]
    )
    data_settings = of_group(provenance, "dataset")
    facts = {
        **({"Paper": f"{paper.authors}: {paper.title} ({paper.published})"} if paper else {}),
        "Data": data_sets.line(provenance.get("data_sets") or []) or ", ".join(provenance["data"]),
        **({"Data settings": data_settings} if "(" in data_settings else {}),
        **({"Model": model} if (model := of_group(provenance, "model")) else {}),
        "Budget": budgets,
        **({"Cut budgets": "; ".join(provenance["cuts"])} if provenance.get("cuts") else {}),
        "Runs": f"{seeds['found']} of {seeds['expected']} finished ({states})",
        **({"Seeds": _by_need(Looks(**provenance["looks"]))} if "looks" in provenance else {}),
        "Device": machine,
        **({"Timing": timing} if (timing := _timing(provenance)) else {}),
        "Code": _code(provenance) or "not recorded",
        "Versions": versions or "not recorded",
        "Experiment": (f"`{report.experiment}`; " if report.experiment else "none; ")
        + f"made with `{provenance['command']}`, and every run is named in [provenance.json](provenance.json)",
    }
    facts |= {"Stale": stale} if (stale := _stale(report, provenance)) else {}
    return "\n".join(f"- {name}: {fact if '`' in fact else _escape(fact)}" for name, fact in facts.items())


def _by_need(looks: Looks) -> str:
    """The line about seeds that were added by need, and the p values."""
    return (
        f"added by need, until a claim is answered; the p values are by {looks}, each multiplied by {LOOKS}, so they "
        "stay valid wherever the adding stopped. The intervals are those of the last complete look, not adjusted for it"
    )


def _timing(provenance: dict) -> str:
    """ "left out of seconds: 2 contended runs; counted in seconds: 3 runs of unknown timing" """
    unknown = provenance.get("timing_unknown") or 0
    counted = f"counted in seconds: {plural(unknown, 'run')} of unknown timing (other work may have slowed them down)"
    return "; ".join(part for part in (provenance["timing"], counted if unknown else "") if part)


def _code(provenance: dict) -> str:
    """ "9b4f1d8 (21 runs); 4c6e44e with uncommitted changes (3 runs); plug-in newton of lab 0.1" """
    found = Counter(run["commit"] for run in provenance["runs"] if run["status"] not in ("missing", "queued"))
    texts = [f"{_commit(commit)} ({plural(count, 'run')})" for commit, count in found.items()]
    for of_run in provenance.get("plugins") or []:
        texts += [_plugin(key, about) for key, about in of_run.items()]
    return "; ".join(dict.fromkeys(texts))


def _commit(commit: str | None) -> str:
    """ "4c6e44e with uncommitted changes"; a trailing "+" of the recorded commit stands for these."""
    if not commit:
        return "commit not recorded"
    return commit.rstrip("+")[:7] + (" with uncommitted changes" if commit.endswith("+") else "")


def _plugin(key: str, about: dict) -> str:
    package = " ".join(str(about[part]) for part in ("distribution", "version") if about.get(part))
    commit = f" at {_commit(about['commit'] + '+' * bool(about.get('dirty')))}" if about.get("commit") else ""
    return f"plug-in {key} of {package or about.get('module') or 'an unknown package'}{commit}"


def _stale(report: Report, provenance: dict) -> str | None:
    """The line about runs made by older code or from other data: their number by method, and the reason."""
    found = Counter((run["optimizer"], run["dataset"], run["stale"]) for run in provenance["runs"] if "stale" in run)
    if not found:
        return None
    which = "; ".join(
        f"{count} of {_escape(optimizer)} on {_escape(data)} ({why})" for (optimizer, data, why), count in found.items()
    )
    words = provenance["command"].removesuffix(f" {BY_NEED}").split(" ", 2)[2]
    if words.split(" ")[0] == report.id and report.experiment:
        words = report.experiment + words.removeprefix(report.id)
    command = f"sobench retry {words} --stale"
    return f"{found.total()} run{'s' * (found.total() > 1)}, {which}; made again with `{command}`"


def budget_line(budget: object) -> str:
    """ "cpu: 7 epochs" """
    if not isinstance(budget, dict):
        return str(budget)
    limits = ", ".join(f"{budget[unit]:,} {unit}" for unit in ("epochs", "steps", "seconds") if budget.get(unit))
    return ": ".join(text for text in (str(budget.get("name") or ""), limits) if text) + part_of_data(budget)
