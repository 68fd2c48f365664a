"""Compatibility with commit 7fcdfea, from before the modules moved: runs, checkpoints and reports stay as they are."""

from __future__ import annotations

import csv
import json
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from harness import TIMES, command, directories, rows, summary

MADE = Path(__file__).parent / "fixtures/made_by_7fcdfea"
EXPECTED = json.loads((MADE / "expected.json").read_text())
REPORTS = {"demo/digits": "default,budget.epochs=2,seed=0,1", "tnt/table-4.1": "smoke,seed=0,1"}
"""The reports and the folder of each."""

SWEEPS = [
    *(["run", "-m", f"experiment={name}", *settings] for name, settings in EXPECTED["reports"].items()),
    *(["run", "-m", *settings] for settings in EXPECTED["sweeps"]),
]


def other_versions(*names: str) -> str:
    """The libraries, of those whose version decides the bytes, that are installed in another version; "" if none is."""
    pairs = [(name, EXPECTED["versions"][name], version(name)) for name in names]
    return ", ".join(f"made with {name} {then}, here is {now}" for name, then, now in pairs if then != now)


def needs(*names: str) -> pytest.MarkDecorator:
    differences = other_versions(*names)
    return pytest.mark.skipif(bool(differences), reason=differences)


@pytest.fixture
def made(tmp_path, monkeypatch) -> Path:
    """A copy of what was made then, as the current folder."""
    for name in ("runs", "interrupted"):
        shutil.copytree(MADE / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SOBENCH_DATA", raising=False)
    return tmp_path


def untimed(record: dict[str, Any]) -> dict[str, Any]:
    """A summary or a row without what may differ between two runs of the same settings."""
    return {key: value for key, value in record.items() if key not in TIMES}


def listing(root: Path) -> dict[str, tuple[int, int]]:
    """Every file of the runs below `root`: its size and the time of its last change. Caches (`.cache`) are left out."""
    files = (path for path in root.glob("[!.]*/**/*") if path.is_file())
    return {str(path.relative_to(root)): (path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(files)}


def table_and_notes(page: Path) -> list[str]:
    """The lines of a report about its table, and its notes; the rules for claims and figures have changed since."""
    text = page.read_text()
    table, notes = (text.partition(f"\n## {title}\n")[2].partition("\n## ")[0] for title in ("Table", "Notes"))
    return [*table.splitlines(), *notes.splitlines()]


def effects(claims: Path) -> dict[str, tuple[str, str]]:
    """The effect and the number of seeds of each claim; none of a report without claims."""
    if not claims.exists():
        return {}
    with claims.open(encoding="utf-8", newline="") as file:
        return {row["id"]: (row["effect"], row["n"]) for row in csv.DictReader(file)}


@needs("pandas", "scipy", "numpy")
@pytest.mark.parametrize("name", REPORTS)
def test_a_report_has_the_table_that_it_had(name, made):
    ended = command("report", name, *EXPECTED["reports"][name], *EXPECTED["always"])
    assert ended.code == 0, ended.err
    then, now = MADE / "reports" / name / REPORTS[name], made / "reports" / name / REPORTS[name]
    files = {path.name for path in then.iterdir()}
    assert {path.name for path in now.iterdir()} - {
        "figure.png",
        "figure.pdf",
        "index.html",
        "values.csv",
        "curves.csv",
    } == files
    for file in files - {"provenance.json", "claims.md", "claims.csv", "report.md"}:
        assert (now / file).read_bytes() == (then / file).read_bytes(), file
    assert table_and_notes(now / "report.md") == table_and_notes(then / "report.md")
    if REPORTS[name].startswith("smoke"):  # which judged costs then
        claims = list(csv.DictReader((now / "claims.csv").read_text("utf-8").splitlines()))
        assert claims and {claim["verdict"] for claim in claims} == {"not judged"}
    else:
        assert effects(now / "claims.csv") == effects(then / "claims.csv")
    before, after = (json.loads((folder / "provenance.json").read_text()) for folder in (then, now))
    for provenance in (before, after):
        del provenance["generator"]  # the version of sobench that writes the report
    known = zip(before.pop("runs"), after.pop("runs"), strict=True)
    assert before.items() <= after.items()  # facts were added, none was changed
    assert all(run.items() <= again.items() for run, again in known)
    assert (now / "figure.png").exists() == any(name in file for file in EXPECTED["figures"])


@pytest.mark.parametrize("words", SWEEPS, ids=lambda words: words[-1])
def test_a_repeated_sweep_finds_its_runs_and_makes_nothing(words, made):
    before = listing(made / "runs")
    ended = command(*words, *EXPECTED["always"])
    assert ended.code == 0, ended.err
    assert "; nothing to do" in ended.out and " to run" not in ended.out
    assert listing(made / "runs") == before


def test_every_configuration_has_the_hash_that_it_had(made):
    import yaml

    from sobench.config.run import Run

    for directory in [*directories(), *directories(Path("interrupted"))]:
        run = Run.of(yaml.safe_load((directory / "config.yaml").read_text()))
        assert run.directory(directory.parts[0]) == directory
        assert json.loads((directory / "run.json").read_text())["id"] == run.id


@needs("torch")
@pytest.mark.parametrize("optimizer", EXPECTED["resumed"])
def test_a_checkpoint_of_then_is_resumed_to_the_same_bits(optimizer, made):
    ended = command("run", *EXPECTED["resumed"][optimizer], *EXPECTED["always"], "runs=interrupted")
    assert ended.code == 0, ended.err
    assert "from step" in ended.out
    (resumed,) = [path for path in directories(Path("interrupted")) if f"_{optimizer}_" in path.parent.name]
    whole = MADE / "whole" / resumed.relative_to("interrupted")
    assert summary(resumed)["parameters_sha256"] == summary(whole)["parameters_sha256"]
    assert untimed(summary(resumed)) == untimed(summary(whole))
    assert len(rows(resumed)) == len(rows(whole))
    for now, then in zip(rows(resumed), rows(whole)):
        # A checkpoint holds no diagnostics: the rows lack Shampoo's until the optimizer forms its roots again.
        assert untimed(now).items() <= untimed(then).items()
        assert then.keys() - now.keys() <= {"root_failures"}


def test_results_of_then_are_counted_and_none_is_stale(made):
    ended = command("status")
    assert ended.code == 0, ended.err
    assert ended.out.count("made before fingerprints of scheme 2") == 1
    assert f"{len(directories())} results were made before" in ended.out
    assert "stale" not in ended.out
