"""The facts on a report's page: rows of the data, commits, timing, cut budgets, settings and their origins, notes."""

import json
import re

import pytest
from run_tree import a_run, evals, put

from sobench.config import tuning
from sobench.config.grid import expand
from sobench.errors import UsageError
from sobench.report import data_sets, origins
from sobench.report.again import differences
from sobench.report.evidence import Evidence
from sobench.report.pages import report_markdown, settings_markdown
from sobench.report.papers import papers
from sobench.report.provenance import as_json, provenance, results_of
from sobench.report.schema.catalogue import read, reports
from sobench.report.settings import settings_of_methods
from sobench.report.terminal import claims_line
from sobench.report.view import of as view_of
from sobench.report.writer import write
from sobench.results.collection import collect
from sobench.system.files import CHECKOUT

METHODS = ("sgd", "newton", "hf_newton")
SMALL = "cifar10: 50000 train, 1000 test, inputs 3x32x32, 10 classes"


def recorded(directory, **facts):
    """Add facts to the environment of a run."""
    file = directory / "environment.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | facts))


def page(folder, root, runs, settings=()):
    """The page of the report a/one, by the names of its facts and sections; and its provenance."""
    evidence = Evidence(read("a/one", folder=folder), collect(runs, root))
    origin = provenance(evidence, "sobench reproduce a/one", settings)
    return report_markdown(view_of(evidence, origin, None, [])), origin


def fact(text, name):
    found = [line.partition(": ")[2] for line in text.splitlines() if line.startswith(f"- {name}: ")]
    return found[0] if found else None


def rewritten(folder, old, new):
    path = folder / "a" / "one.yaml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


@pytest.mark.parametrize(
    ("dataset", "share", "text", "line"),
    [
        (
            "cifar10",
            0.0,
            SMALL,
            "50,000 training and 1,000 test rows (the whole set has 50,000 training and 10,000 test",
        ),
        ("cifar10", 0.1, SMALL, "45,000 training, 5,000 validation and 1,000 test rows (the whole set has 50,000 tr"),
        ("cifar10", 0.0, SMALL.replace("1000 test", "10000 test"), "50,000 training and 10,000 test rows"),
        (
            "own",
            0.0,
            "own: 4 train, 2 test, inputs 3, 2 classes, 9 words, 5 with",
            "4 training and 2 test rows; 9 words",
        ),
        ("faces_synthetic", 0.0, "faces_synthetic: 9 train, 3 test, inputs 625, 625 real targets", "9 training and 3"),
        ("mnist", 0.0, "", "rows not recorded"),
    ],
)
def test_the_rows_that_a_run_used(folder, tmp_path, dataset, share, text, line):
    run = a_run("sgd", dataset=dataset, validation=share)
    recorded(put(tmp_path, run, evals("test_accuracy", 0.1, 0.9)), **({"data": text} if text else {}))
    of = ", which stands in for FACES" if dataset == "faces_synthetic" else ""
    assert fact(page(folder, tmp_path, [run])[0], "Data").startswith(
        f"{dataset.replace('_', chr(92) + '_')}{of}: {line}"
    )


def test_runs_of_one_set_with_other_rows_are_counted_apart():
    runs = [a_run("sgd", seed, dataset="cifar10") for seed in range(4)] + [a_run("sgd", dataset="mnist")]
    environments = {run.id: {"data": SMALL} for run in runs[:2]} | {runs[2].id: {"commit": "abc"}}
    line = data_sets.line(data_sets.data_sets(runs, environments))
    assert [part.partition(":")[::2] for part in line.split("; ")] == [
        (
            "cifar10 (2 runs)",
            " 50,000 training and 1,000 test rows (the whole set has 50,000 training and 10,000 test rows)",
        ),
        ("cifar10 (1 run)", " rows not recorded"),
        ("mnist", " no run was started"),
    ]


def test_commits_and_plug_ins_are_named_with_the_number_of_their_runs(folder, tmp_path):
    runs = [a_run("sgd", seed) for seed in range(4)] + [a_run("newton")]
    commits = ["9b4f1d8952e2", "9b4f1d8952e2", "4c6e44e81bd1+", None]
    lab = {
        "distribution": "lab",
        "version": "0.1",
        "module": "lab.opt",
        "sha256": "0",
        "commit": "77aa77aa7",
        "dirty": True,
    }
    for run, commit in zip(runs, commits, strict=False):
        plugins = {"plugins": {"optimizer": lab}} if commit else {}
        recorded(put(tmp_path, run, evals("test_accuracy", 0.1, 0.9)), commit=commit, **plugins)
    assert fact(page(folder, tmp_path, runs)[0], "Code") == (
        "9b4f1d8 (2 runs); 4c6e44e with uncommitted changes (1 run); commit not recorded (1 run); "
        "plug-in optimizer of lab 0.1 at 77aa77a with uncommitted changes"
    )


def test_contended_and_unknown_runs_are_counted_also_without_a_time_on_the_page(folder, tmp_path):
    rewritten(folder, "    - {metric: seconds_per_step, label: Time, better: lower, format: .3g}\n", "")
    runs = [a_run("sgd", seed) for seed in range(4)]
    for run, quality in zip(runs, ("quiet", "contended", "unknown", None), strict=True):
        timing = {"timing": {"quality": quality}} if quality else {}
        put(tmp_path, run, evals("test_accuracy", 0.1, 0.9), **timing)
    assert fact(page(folder, tmp_path, runs)[0], "Timing") == (
        "left out of seconds: 1 contended run, beside other work on the machine; counted in seconds: 2 runs of unknown "
        "timing (other work may have slowed them down)"
    )


def test_cut_budgets_are_named_without_a_table(folder, tmp_path):
    text = (folder / "a" / "one.yaml").read_text()
    (folder / "a" / "one.yaml").write_text(text[: text.index("table:")] + text[text.index("figure:") :])
    runs = [a_run(name) for name in METHODS]
    for run in runs:
        rows = evals("test_accuracy", *[0.1] * (2 if run.label("optimizer") == "newton" else 3))
        put(tmp_path, run, rows)
    assert fact(page(folder, tmp_path, runs)[0], "Cut budgets") == "Newton's cut to 10 of 20 steps"


# Settings


def test_a_setting_has_its_origin():
    runs = expand(
        ["experiment=kernelsgd/table-3", "budget=cpu", "dataset=usps,mnist", "seed=0", "optimizer=lbfgs", "l2=0.1"]
    )
    found = origins.origins(runs, "kernelsgd/table-3", ["dataset=usps,mnist", "seed=0", "optimizer=lbfgs", "l2=0.1"])
    usps, mnist = (found[run.cell] for run in runs)
    (entry,) = [e for e in tuning.entries("kernelsgd") if {"dataset=usps", "optimizer=lbfgs"} <= {*e["cell"]}]
    assert runs[0].config["optimizer"]["lr"] == entry["values"]["optimizer.lr"]
    expected = {"l2": "command line", "batch_size": "experiment", "optimizer.history_size": "experiment"}
    for of_cell, lr in ((usps, "tuned"), (mnist, "experiment")):
        assert {key: of_cell["origins"].get(key) for key in expected} == expected
        assert of_cell["origins"]["optimizer.lr"] == lr and "optimizer.max_iter" not in of_cell["origins"]
    assert usps["tuned"]["file"] == "conf/tuned/kernelsgd.yaml" and "tuned" not in mnist
    assert {key: usps["tuned"][key] for key in ("metric", "trials", "seeds", "edge")} == {
        key: entry[key] for key in ("metric", "trials", "seeds", "edge")
    }


def test_settings_of_methods_are_told_from_others():
    assert all(
        map(origins.is_of_method, ("optimizer.lr", "batch_size", "dataset.size", "instrument.companions.tnt.lr"))
    )
    assert not any(
        map(origins.is_of_method, ("dataset.name", "budget.steps", "budgets.cpu.steps", "instrument.name", "threads"))
    )


@pytest.mark.parametrize("command", [["optimizer.lr=0.5"], ["hydra.sweeper.tuned=null"]])
def test_a_setting_that_the_command_line_replaced_is_not_tuned(command):
    runs = expand(["experiment=kernelsgd/table-3", "dataset=usps", "seed=0", "optimizer=esgd", *command])
    (found,) = origins.origins(runs, "kernelsgd/table-3", command).values()
    origin = "command line" if command == ["optimizer.lr=0.5"] else "experiment"
    assert found["origins"]["optimizer.lr"] == origin and "tuned" not in found


def test_the_section_marks_each_setting_with_its_origin(folder, tmp_path):
    runs = [a_run("sgd", lr=0.1), a_run("newton", lr=0.5, damping=3.0)]
    for run in runs:
        put(tmp_path, run, evals("test_accuracy", 0.1, 0.9))
    evidence = Evidence(read("a/one", folder=folder), collect(runs, tmp_path))
    origin = provenance(evidence, "")
    sgd, newton = (origin["cells"][run.cell] for run in runs)
    sgd["origins"] = {"optimizer.lr": "tuned", "batch_size": "experiment"}
    sgd["tuned"] = {"file": "conf/tuned/x.yaml", "metric": "m", "better": "lower", "trials": 4, "seeds": [7, 8]}
    sgd["tuned"]["edge"] = ["optimizer.lr"]
    newton["origins"] = {"optimizer.lr": "command line", "batch_size": "experiment"}
    lines = settings_markdown(settings_of_methods(evidence, origin)[0]).splitlines()
    assert lines[0] == "All methods: batch\\_size *64*."
    assert (
        "| SGD | lr **0.1**, damping 1 | lowest m of 4 trials, seeds 7, 8; lr: the best lies on the edge of its grid |"
        in lines
    )
    assert "| Newton's | lr <u>0.5</u>, damping 3 | – |" in lines
    assert all(
        word in lines[-1] for word in ("**Bold**", "`conf/tuned/x.yaml`", "*Italic*", "<u>Underlined</u>", "Plain")
    )


def test_a_method_that_stands_for_a_grid_has_ranges(folder, tmp_path):
    rewritten(
        folder, "table:\n", "figure:\n  panels:\n  - {kind: contour, method: sgd, metric: loss, label: L}\nold:\n"
    )
    path = folder / "a" / "one.yaml"
    path.write_text(path.read_text().partition("old:")[0])
    runs = [a_run("sgd", lr=10.0**-k, damping=damping) for k in (1, 0, 3, 2) for damping in (0.5, 2.0)]
    for run in runs:
        put(tmp_path, run, evals("loss", 0.1, 0.9))
    text = page(folder, tmp_path, runs)[0]
    assert "| SGD | lr 4 values from 0.001 to 1, damping 0.5, 2 |" in text


def test_methods_have_a_row_for_each_place_with_other_settings(folder, tmp_path):
    rewritten(
        folder,
        "    - {metric: seconds_per_step, label: Time, better: lower, format: .3g}\n",
        "    - {metric: test_accuracy, label: M, where: {dataset: mnist}}\n"
        "    - {metric: test_accuracy, label: U, where: {dataset: usps}}\n"
        "    - {metric: test_accuracy, label: F, where: {dataset: faces}}\n",
    )
    path = folder / "a" / "one.yaml"
    text = path.read_text().replace("label: Accuracy (100%),", "label: Accuracy (100%), where: {dataset: mnist},")
    path.write_text(text[: text.index("figure:")])
    runs = [a_run("sgd", dataset="mnist"), a_run("sgd", dataset="usps"), a_run("sgd", dataset="faces", lr=0.7)]
    runs.append(a_run("newton", dataset="mnist", damping=3.0))
    for run in runs:
        put(tmp_path, run, evals("test_accuracy", 0.1, 0.9))
    found = [line for line in page(folder, tmp_path, runs)[0].splitlines() if line.startswith(("| SGD |", "| Newton"))]
    assert found == [
        "| SGD | all | damping 1 |",
        "| SGD | mnist; usps | lr 0.1 |",
        "| SGD | faces | lr 0.7 |",
        "| Newton's | mnist | lr 0.1, damping 3 |",
    ]


def test_the_page_is_made_from_its_provenance_alone(folder, tmp_path):
    text = (folder / "a" / "one.yaml").read_text()
    (folder / "a" / "one.yaml").write_text(text[: text.index("figure:")])
    runs = [a_run(name, seed) for name in METHODS for seed in range(2)]
    for run in runs:
        recorded(put(tmp_path / "runs", run, evals("test_accuracy", 0.1, 0.9)), data=SMALL, commit="abcdef0123+")
    write("a/one", runs, tmp_path / "runs", tmp_path / "out", folder=folder, settings=["optimizer.lr=0.1"])
    assert "lr <u>0.1</u>" in (tmp_path / "out" / "report.md").read_text()
    assert differences(tmp_path / "out", descriptions=folder) == []


def test_a_provenance_without_the_new_facts_is_shown(folder, tmp_path):
    runs = [a_run(name) for name in METHODS]
    for run in runs:
        put(tmp_path, run, evals("test_accuracy", 0.1, 0.9))
    report = read("a/one", folder=folder)
    origin = json.loads(as_json(provenance(Evidence(report, collect(runs, tmp_path)), "")))
    for key in ("data_sets", "timing_unknown", "cuts", "plugins"):
        del origin[key]
    for cell in origin["cells"].values():
        del cell["origins"]
    text = report_markdown(view_of(Evidence(report, results_of(origin)), origin, None, []))
    assert fact(text, "Data") == "mnist" and "Where the values come from is not recorded." in text


# Notes


def test_a_note_about_some_runs_is_shown_with_them_alone(folder, tmp_path):
    rewritten(folder, "notes: [One note.]", "notes: [One note., {text: Of USPS., where: {dataset: usps}}]")
    runs = {name: a_run("sgd", dataset=name) for name in ("mnist", "usps")}
    for run in runs.values():
        put(tmp_path, run, evals("test_accuracy", 0.1, 0.9))
    shown = {name: page(folder, tmp_path, [run])[0].partition("## Notes\n\n")[2] for name, run in runs.items()}
    assert shown == {"mnist": "- One note.\n", "usps": "- One note.\n- Of USPS.\n"}


@pytest.mark.parametrize(
    ("notes", "message"),
    [
        ("[{text: A., were: {dataset: usps}}]", r"notes\[0\].were: no such key"),
        ("[{where: {dataset: usps}}]", r"notes\[0\].text: missing"),
        ("[3]", r"notes\[0\]: got 3, allowed: text, or keys \(text, where\)"),
    ],
)
def test_a_wrong_note_is_refused(folder, notes, message):
    rewritten(folder, "notes: [One note.]", f"notes: {notes}")
    with pytest.raises(UsageError, match=message):
        read("a/one", folder=folder)


def test_the_notes_on_borrowed_settings_and_word_vectors_are_of_their_runs():
    report, shown = read("kernelsgd/table-3"), {}
    for data in ({"name": "libsvm", "set": "usps"}, {"name": "mnist"}, {"name": "imdb", "dimension": 50}):
        run = a_run("esgd")
        run.config["dataset"] = data
        results = collect([run], "nowhere")
        notes = [note.text for note in report.notes if note.where and results.select(note.where)]
        shown[data["name"]] = [word for word in ("MNIST", "IMDb", "vectors") if any(word in note for note in notes)]
    assert shown == {"libsvm": [], "mnist": ["MNIST"], "imdb": ["IMDb", "vectors"]}


@pytest.mark.parametrize(
    ("answers", "line"),
    [
        (["holds"] * 3 + ["undecided"] * 2 + ["not judged"], "3 of 6 claims hold, 2 undecided, 1 not judged"),
        (["fails"], "0 of 1 claim holds, 1 fails"),
        (["holds"], "1 of 1 claim holds"),
        ([], ""),
    ],
)
def test_the_last_line_counts_the_answers(tmp_path, answers, line):
    if answers:
        (tmp_path / "claims.csv").write_text("id,verdict\n" + "".join(f"c{i},{a}\n" for i, a in enumerate(answers)))
    assert claims_line(tmp_path) == line


def test_the_page_names_the_paper_and_every_setting_of_data_and_model(tmp_path):
    run = a_run(
        "sgd", widths=(30, 10), dataset="mnist", model={"name": "mlp", "widths": [30, 10], "activation": "relu"}
    )
    put(tmp_path, run, evals("test_accuracy", 0.1, 0.9))
    evidence = Evidence(read("practical/table-3"), collect([run], tmp_path))
    origin = provenance(evidence, "sobench reproduce practical/table-3", ())
    text = report_markdown(view_of(evidence, origin, None, []))
    assert fact(text, "Paper").startswith("Z. Wang and M. Huang: Second-order Optimization Made Practical")
    assert fact(text, "Model") == "mlp (widths [30, 10], activation relu)"


def test_readme_and_notes_name_the_papers_as_the_pages_do():
    readme = (CHECKOUT / "README.md").read_text()
    assert {name.partition("/")[0] for name in reports()} - {"demo"} == {*papers()}
    for name, paper in papers().items():
        (line,) = [line for line in readme.splitlines() if line.startswith(f"| `{name}`: ")]
        assert paper.authors.split(" and ")[0].split(", ")[0].split(" ")[1] in line or "thesis" in paper.published
        assert all(paper.title.startswith(title) for title in re.findall(r"\*(.+?)\*", line))
        assert paper.title in (CHECKOUT / f"docs/{name}.md").read_text()
