"""`sobench reproduce all --budget TIME`: makes what is missing of every artifact, as far as the time allows.

The work is divided into layers: a layer gives one more seed to every cell of an artifact. All artifacts get their first
layer before any gets its second. Among layers of one number, that which takes the least time for each claim of its
artifact comes first. A layer that does not fit into the time that is left is passed over. The report of an artifact is
written after each of its layers, and a page over all reports at the end.

The time of a run is that of the finished runs of its cell, or is estimated from a few steps as in `sobench plan`. As
this may take a minute, it is done when the turn of its layer comes, once for all cells that differ in real numbers of
their optimizer alone; until then a run counts as GUESS. The estimates are kept under the folder of the runs. A repeated
command goes on where the last one ended.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import math
import re
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from sobench.cli.answer import Answer, as_asked
from sobench.cli.arguments import check_overrides
from sobench.cli.by_need import Asked, asked, has_result, launch, root_of
from sobench.cli.plan import PATIENCE, measure
from sobench.cli.report_documents import of_pages
from sobench.cli.writing import write_report
from sobench.config.files import NOT_IDENTITY
from sobench.config.run import Run
from sobench.errors import Failure, UsageError
from sobench.results.state import KEEPS, state
from sobench.system.files import parse_json, write_atomically
from sobench.system.text import format_duration, plural

ALL = "all"
FOLDER = ".prices"
STOPPED = (130, 143)
"""Exit codes of a sweep that was stopped by a signal."""
GUESS = 30.0
"""The seconds of a run of which nothing is known yet."""
WITHOUT_CLAIM = 0.5
"""The number of claims for which an artifact without any counts."""


@dataclass(frozen=True)
class Layer:
    """The runs that give a further seed, the `number`-th, to the cells of an artifact.

    claims: the number of claims of the artifact.
    """

    report: str
    number: int
    runs: tuple[Run, ...]
    claims: int

    def left(self) -> list[Run]:
        """The runs that have no result yet."""
        return [run for run in self.runs if not has_result(run)]


def reproduce_all(overrides: Sequence[str], limit: float | None) -> Answer | int:
    """Make and report as much as fits into `limit` seconds (None: no limit), and list it on the way.

    Returns the reports that were written; the exit code of a sweep that was stopped.
    """
    began, overrides = time.monotonic(), check_overrides(overrides)
    wanted = _wanted(overrides)
    usable = _with_data()
    layers = [layer for name, its in wanted.items() for layer in layers_of(name, its.runs, usable)]
    if not layers:
        raise Failure("reproduce all: no artifact has runs with these settings, on data that is at hand")
    left = {run.id for layer in layers for run in layer.left()}
    _say(f"{plural(len({layer.report for layer in layers}), 'artifact')}, {plural(len(left), 'run')} left to make")
    end = math.inf if limit is None else began + limit
    pages: dict[str, Path] = {}
    prices, code, workers = Prices(root_of(layers[0].runs), end), 0, _workers(overrides)
    for layer in in_order(layers, prices):
        left = [run for run in layer.left() if run.cell in prices.known]
        seconds = sum(map(prices.of, left)) / workers
        if not left or time.monotonic() + seconds > end:
            continue
        _say(f"{layer.report}, seed {layer.number} of each cell: {plural(len(left), 'run')}, {_about(seconds)}")
        done = launch(left, wanted[layer.report].selected.overrides)
        if done in STOPPED:
            return done
        code = max(code, done)
        if page := _write(layer.report, wanted[layer.report], overrides):
            pages[layer.report] = page
    _say(_what_is_left(layers, prices, limit))
    _overview(Path(layers[0].runs[0].config["reports"]))
    return Answer(partial(of_pages, list(pages.values())), as_asked, code)


def layers_of(report: str, runs: Iterable[Run], usable: Callable[[Run], bool]) -> Iterator[Layer]:
    """The layers of an artifact, without the runs that are not usable."""
    from sobench.report import read

    by_cell: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        if usable(run):
            by_cell[run.cell].append(run)
    claims = len(read(report).claims)
    for place in range(max(map(len, by_cell.values()), default=0)):
        of_layer = tuple(of_cell[place] for of_cell in by_cell.values() if place < len(of_cell))
        yield Layer(report, place + 1, of_layer, claims)


def in_order(layers: Iterable[Layer], prices: Prices) -> Iterator[Layer]:
    """The layers by their number, and by the time of what is left of them for each claim.

    The time of a layer's runs is found out before it is given out; it may lose its turn by that.
    """

    def key(layer: Layer) -> tuple[int, float, str]:
        seconds = sum(map(prices.of, layer.left()))
        return layer.number, seconds / max(layer.claims, WITHOUT_CLAIM), layer.report

    waiting = [(key(layer), place, layer) for place, layer in enumerate(layers)]
    heapq.heapify(waiting)
    while waiting:
        before, place, layer = heapq.heappop(waiting)
        for run in layer.left():
            prices.learn(run)
        if key(layer) > before:
            heapq.heappush(waiting, (key(layer), place, layer))
        else:
            yield layer


@dataclass
class Prices:
    """The seconds of a run of each cell. Estimates are kept in a file for each kind under the folder of the runs.

    end: when no further estimate is made, by time.monotonic. known: by cell. unknown: the kinds that cannot be
    measured.
    """

    root: Path
    end: float = math.inf
    known: dict[str, float] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)

    def of(self, run: Run) -> float:
        """The seconds of a run, as far as they are known."""
        if run.cell in self.known:
            return self.known[run.cell]
        return 0.0 if _kind(run) in self.unknown else GUESS

    def learn(self, run: Run) -> None:
        """Find out the seconds of a run, if there is time. A line says why they cannot be known."""
        if run.cell in self.known or _kind(run) in self.unknown or time.monotonic() > self.end:
            return
        cost = self.kept(run) or self._estimated(run)
        if isinstance(cost, str):
            self.unknown.add(_kind(run))
            _say(f"left out: {run.slug.partition('/')[0]}: {cost}")
        else:
            self.known[run.cell] = cost

    def kept(self, run: Run) -> float | None:
        """The seconds of a run, from finished runs of its cell or else from an estimate that is kept; or None."""
        return self._recorded(run) or _read(self._file(run))

    def _recorded(self, run: Run) -> float | None:
        """The mean of the finished runs of the cell."""
        others = (state(folder) for folder in run.directory(self.root).parent.glob("seed-*"))
        seconds = [found.spent_seconds for found in others if found.status in KEEPS]
        return statistics.mean(seconds) if seconds else None

    def _estimated(self, run: Run) -> float | str:
        """A new estimate of the cell, which is kept; the reason where that is not possible."""
        _say(f"timing a few steps: {run.slug.partition('/')[0]}")
        measured = measure(run, min(PATIENCE, self.end - time.monotonic()))
        if isinstance(measured, str):
            return measured
        file = self._file(run)
        with suppress(OSError):  # it is measured again by the next command
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(file, json.dumps(measured.seconds).encode())
        return measured.seconds

    def _file(self, run: Run) -> Path:
        return self.root / FOLDER / f"{_kind(run)}.json"


def _kind(run: Run) -> str:
    """The hash of what the time of a run depends on: all but the seed and the optimizer's real numbers, such as its
    learning rate. Cells of one kind share an estimate.
    """
    own = {
        key: value
        for key, value in run.settings.items()
        if key.partition(".")[0] not in (*NOT_IDENTITY, "seed") and not _is_real(key, value)
    }
    return hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()[:12]


def _is_real(key: str, value: object) -> bool:
    """Whether a setting is a real number of the optimizer; 1 may be written for 1.0."""
    return key.startswith("optimizer.") and (isinstance(value, float) or key.endswith((".lr", ".damping")))


def _read(file: Path) -> float | None:
    """An estimate; None if the file is missing or damaged."""
    try:
        seconds = parse_json(file.read_bytes())
    except (OSError, ValueError):
        return None
    return seconds if isinstance(seconds, float) else None


def _wanted(overrides: Sequence[str]) -> dict[str, Asked]:
    """What each artifact asks for, with a line for each that has no runs with these settings."""
    from sobench.report import reports
    from sobench.report.overview import DEMO

    wanted = {}
    for name in reports():
        if name.startswith(DEMO):
            continue
        try:
            wanted[name] = asked(name, overrides)
        except UsageError as error:
            _say(f"left out: {name}: {error}")
    return wanted


def _with_data() -> Callable[[Run], bool]:
    """A function: whether the data of a run is at hand, with a line for each data set that cannot be had."""
    from sobench.execution.task import prepare_data

    at_hand: dict[str, bool] = {}
    said: set[str] = set()

    def usable(run: Run) -> bool:
        key = json.dumps([run.config["dataset"], run.config["data"]], sort_keys=True)
        if key not in at_hand:
            try:
                prepare_data([run])
                at_hand[key] = True
            except Failure as error:
                at_hand[key] = False
                reason = str(error).splitlines()[0]
                if reason not in said:
                    _say(f"left out: runs without their data: {reason}")
                said.add(reason)
        return at_hand[key]

    return usable


def _workers(overrides: Iterable[str]) -> int:
    """The number of runs at a time, as far as the settings of the launcher say so."""
    numbers = (re.fullmatch(r"hydra\.launcher\.n_jobs=(\d+)", override) for override in overrides)
    return max(1, *(int(number[1]) for number in numbers if number), 1)


def _write(report: str, its: Asked, overrides: Sequence[str]) -> Path | None:
    """Write the report of an artifact; its page, or None with a line if that is not possible."""
    try:
        page = write_report(report, its, overrides)[0]
    except (Failure, UsageError) as error:
        _say(f"{report}: no report: {error}")
        return None
    _say(str(page))
    return page


def _what_is_left(layers: Sequence[Layer], prices: Prices, limit: float | None) -> str:
    """ "within 8 h: 12 runs left, about 3 h run sequentially; 4 of unknown time, not included" """
    left = {run.id: run for layer in layers for run in layer.left()}
    known = [prices.known[run.cell] for run in left.values() if run.cell in prices.known]
    text = f"{plural(len(left), 'run')} left" + (f", {_about(sum(known))} run sequentially" if known else "")
    unknown = len(left) - len(known)
    text += f"; {unknown} of unknown time, not included" if unknown else ""
    return text if limit is None else f"within {format_duration(limit)}: {text}"


def _overview(root: Path) -> None:
    """Write the page over all reports, if there are any, and print its path."""
    from sobench.report import overview

    with suppress(UsageError):
        _say("\n".join(map(str, overview.write(root))))


def _about(seconds: float) -> str:
    return f"about {format_duration(seconds)}"


def _say(line: str) -> None:
    print(f"all: {line}", flush=True)
