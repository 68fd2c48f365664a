"""One search of settings, on one experiment: its trials, and the files of its choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sobench.cli.writing import folder_of
from sobench.errors import Failure
from sobench.system.text import plural

if TYPE_CHECKING:
    from sobench.config.run import Run
    from sobench.results.collection import Results
    from sobench.results.trials import Search


@dataclass(frozen=True)
class Tuning:
    """A search of settings on one experiment.

    sweeper: the node hydra.sweeper. runs: those of all trials. variant: the settings that the folder of the trials is
    named by. kept: the file of the choice; None if the experiment names none.
    """

    experiment: str
    sweeper: Mapping[str, Any]
    runs: list[Run]
    variant: Sequence[str]
    kept: Path | None

    @classmethod
    def of(cls, experiment: str, sweeper: Mapping[str, Any], runs: list[Run], variant: Sequence[str]) -> Tuning:
        """Raises UsageError for a metric or a place that does not exist, and for a file that cannot be written."""
        from sobench.config import tuning

        _check_score(tuning.checked(sweeper), runs[0])
        kept = tuning.file_to_write(sweeper["tuned"]) if sweeper["tuned"] else None
        return cls(experiment, sweeper, runs, variant, kept)

    @cached_property
    def results(self) -> Results:
        """The results of the runs, as they are when this is asked for first."""
        from sobench.results.collection import collect

        return collect(self.runs, Path(self.runs[0].config["runs"]))

    @cached_property
    def searches(self) -> list[Search]:
        from sobench.results.trials import searches

        return searches(self.sweeper, self.results)

    @property
    def criterion(self) -> dict[str, Any]:
        """By what the trials are compared."""
        from sobench.config import tuning

        its = tuning.checked(self.sweeper)
        seeds = sorted({run.seed for run in self.runs})
        of_score = {key: its[key] for key in ("metric", "better", "at")}
        return {**of_score, "seeds": seeds, "budget": self.runs[0].config["budget"]["name"]}

    def write(self) -> list[Path]:
        """Write the trials below reports/, and the choice to the user's own folder. The files. Raises Failure."""
        from sobench.report import tune_pages as pages

        folder = folder_of(f"{self.experiment}/tune", self.runs, self.variant)
        paths = pages.write(self.searches, self.criterion, self.experiment, folder)
        if self.kept:
            if not self.kept.parent.is_dir():
                print(f"made the folder {self.kept.parent} for the settings that are chosen")
            paths.append(pages.adopt(self.sweeper["tuned"], self.searches, self.criterion))
        return paths

    @property
    def edges(self) -> list[tuple[Search, str, Any]]:
        """Each chosen value that is the smallest or largest of its grid, with its setting."""
        return [
            (search, key, search.best.values[key]) for search in self.searches if search.best for key in search.edge
        ]

    def document(self, files: Sequence[Path]) -> dict[str, Any]:
        """What was chosen, for programs."""
        return {
            "experiment": self.experiment,
            **self.criterion,
            "choices": [
                {
                    "cell": list(search.cell),
                    "values": search.best.values if search.best else None,
                    "score": search.best.score.mean if search.best else None,
                    "stderr": search.best.score.stderr if search.best else None,
                    "trials": len(search.trials),
                    "unfinished": sum(not trial.complete for trial in search.trials),
                    "edge": search.edge if search.best else [],
                }
                for search in self.searches
            ],
            "files": files,
            "kept": self.kept,
        }


def require_choice(tunings: Sequence[Tuning], name: str) -> None:
    """Raises Failure if no trial of any search finished with all of its seeds."""
    if any(search.best for its in tunings for search in its.searches):
        return
    disturbed, runs = sum(len(its.results.disturbed) for its in tunings), sum(len(its.runs) for its in tunings)
    alone = f" undisturbed ({disturbed} of {plural(runs, 'run')} shared a GPU or were contended)" if disturbed else ""
    raise Failure(f"tune: no trial of {name} finished with all of its seeds{alone}")


def _check_score(tune_settings: Mapping[str, Any], run: Run) -> None:
    """Raises UsageError for a place or a metric that does not exist."""
    from sobench.config import schema
    from sobench.config.by_path import short_name
    from sobench.report.schema.panels import AT
    from sobench.results.pick import check_metric

    schema.read(tune_settings["at"], AT, "hydra.sweeper.tune.at")
    if run.config["instrument"]["name"] == "none":  # else there are more metrics
        own = [short_name(path) for path in run.config["metrics"]]
        check_metric(tune_settings["metric"], "hydra.sweeper.tune.metric", own)
