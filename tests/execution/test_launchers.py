"""Sweeps whose runs are made in other processes, and sweeps that Optuna leads: the same runs, to the same bits."""

import importlib.util
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from harness import SMALL, command, directories, result, summary

from sobench.config import extras
from sobench.execution import launchers
from sobench.execution.remote import RemoteTask, WorkerContext

SWEEP = ["-m", *SMALL, "log.every=1", "optimizer=sgd,adam", "optimizer.lr=0.1,0.01,0.003", "seed=0,1"]
SOBENCH = [sys.executable, "-c", "from sobench.cli import entry; entry()", "run"]
GRID = ["hydra/sweeper=optuna", "hydra.sweeper.sampler=grid"]


def needs(module: str):
    try:
        found = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        found = None
    return pytest.mark.skipif(found is None, reason=f"{module} is not installed")


JOBLIB, SUBMITIT, RAY = (needs(f"hydra_plugins.hydra_{name}_launcher") for name in ("joblib", "submitit", "ray"))
OPTUNA = [needs("optuna"), pytest.mark.filterwarnings("ignore")]  # Optuna's own, on import


def sobench(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess:
    """`sobench run WORDS` in a process and a folder of its own."""
    folder.mkdir(exist_ok=True)
    return subprocess.run([*SOBENCH, *words], cwd=folder, capture_output=True, text=True, env=os.environ | environment)


def results(root: Path) -> dict[str, str]:
    """All that settings determine of each run: every row of its record, and the digest of its parameters."""
    found = {str(path.relative_to(root)): result(path) for path in directories(root)}
    assert all(
        len(json.loads(line.split(": ")[1].strip(","))) == 64
        for text in found.values()
        for line in text.splitlines()
        if "parameters_sha256" in line
    )
    return found


@pytest.fixture(scope="module")
def in_process(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("in-process")
    done = command("run", *SWEEP, f"runs={folder / 'runs'}")
    assert done.out.splitlines()[-1] == "12 runs: 12 done", done
    return results(folder / "runs")


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"], marks=JOBLIB, id="joblib"),
        pytest.param(["hydra/launcher=submitit_local"], marks=[SUBMITIT, pytest.mark.slow], id="submitit_local"),
        pytest.param(["hydra/launcher=ray"], marks=[RAY, pytest.mark.slow], id="ray"),
        pytest.param(
            [*GRID, "hydra.sweeper.n_jobs=6", "hydra/launcher=joblib"],
            marks=[JOBLIB, *OPTUNA, pytest.mark.slow],
            id="optuna-joblib",
        ),
    ],
)
def test_the_same_sweep_to_the_same_bits(tmp_path, in_process, words):
    done = sobench(tmp_path / "work", *SWEEP, *words)
    assert done.returncode == 0, done
    assert "12 runs: 12 done" in done.stdout.splitlines()[-8:]  # the last line, but for what Optuna found
    assert results(tmp_path / "work" / "runs") == in_process and len(in_process) == 12
    assert os.listdir(tmp_path / "work") == ["runs"]  # of Hydra and of the launcher, nothing beside it


@OPTUNA[0]
@OPTUNA[1]
def test_a_search_of_the_grid_is_the_same_sweep(workplace, in_process):
    done = command("run", *SWEEP, *GRID)
    assert done.code == 0 and done.out.count("\n2 runs: 2 done\n") == 6
    assert results(workplace / "runs") == in_process and os.listdir() == ["runs"]


@SUBMITIT
@pytest.mark.slow
def test_a_job_that_is_pre_empted_goes_on(tmp_path):
    """submitit's signal before pre-emption reaches the job in mid-run: it is queued again, to the same bits."""
    import signal
    import time

    words = ["-m", *SMALL, "budget.steps=6000", "log.every=20", "checkpoint.seconds=0.05", "seed=0"]
    started = subprocess.Popen([*SOBENCH, *words, "hydra/launcher=submitit_local"], cwd=tmp_path)
    while not (saved := list(tmp_path.glob("runs/*/seed-0/checkpoint.pt"))):
        assert started.poll() is None
        time.sleep(0.01)
    holder = json.loads((saved[0].parent / "holder.json").read_text())
    os.kill(holder["pid"], signal.SIGUSR2)
    assert started.wait(600) == 0
    (log,) = tmp_path.glob("runs/.launcher/submitit/*/*_log.out")
    assert "resuming from step" in log.read_text()
    sobench(tmp_path / "quiet", *words)
    assert results(tmp_path / "runs") == results(tmp_path / "quiet" / "runs")


SLURM = {
    "sbatch": """#!/bin/bash
cp "$1" submitted.sh  # submitit moves its own
file=$PWD/submitted.sh
export SLURM_ARRAY_JOB_ID=77 SLURM_NTASKS=1 SLURM_JOB_NUM_NODES=1 SLURM_NODEID=0 SLURM_PROCID=0 SLURM_LOCALID=0
export OMP_NUM_THREADS=3
(cd /; for i in $(seq 0 $(sed -n 's/#SBATCH --array=0-\\([0-9]*\\)%.*/\\1/p' $file)); do
    SLURM_JOB_ID=$((100 + i)) SLURM_ARRAY_TASK_ID=$i bash $file || exit; done) > /dev/null 2>&1 &
echo Submitted batch job 77
""",
    "srun": """#!/bin/bash
[ $1 = --unbuffered ] && [ $2 = --output ] && [ $4 = --error ] && exec "${@:6}"
""",
    "sacct": """#!/bin/bash
echo 'JobID|State|NodeList'; echo '77_[0-9]|RUNNING|here'
""",
}
"""As much of Slurm as a job array needs, one job after the other; it starts them in another folder."""


@SUBMITIT
@pytest.mark.slow
def test_a_job_array_of_slurm(tmp_path, in_process):
    bin = tmp_path / "bin"
    bin.mkdir()
    for name, text in SLURM.items():
        (bin / name).write_text(text)
        (bin / name).chmod(0o755)
    words = [
        "hydra/launcher=submitit_slurm",
        "hydra.launcher.timeout_min=30",
        "hydra.launcher.array_parallelism=1",
        "hydra.launcher.partition=long",
        "hydra.launcher.gpus_per_node=1",
    ]
    done = sobench(
        tmp_path / "work",
        *SWEEP[:-3],
        "optimizer=sgd",
        "optimizer.lr=0.1",
        "seed=0,1",
        *words,
        PATH=f"{bin}:{os.environ['PATH']}",
        OMP_NUM_THREADS="1",
    )
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "2 runs: 2 done"), done
    made = results(tmp_path / "work" / "runs")
    assert len(made) == 2 and made.items() <= in_process.items()
    asked = (tmp_path / "work" / "submitted.sh").read_text().splitlines()
    folder = tmp_path / "work" / "runs" / ".launcher" / "submitit"
    assert {
        "#SBATCH --array=0-1%1",
        "#SBATCH --time=30",
        "#SBATCH --requeue",
        "#SBATCH --signal=USR2@120",
        "#SBATCH --job-name=sobench",
        "#SBATCH --partition=long",
        "#SBATCH --gpus-per-node=1",
        "#SBATCH --cpus-per-task=1",
        f"#SBATCH --output={folder}/%A_%a/%A_%a_0_log.out",
    } <= set(asked)


# A worker's place


def place(config: None) -> tuple[str, str | None, str | None]:
    return os.getcwd(), os.environ.get("SOBENCH_DATA"), os.environ.get("CUDA_VISIBLE_DEVICES")


def test_a_run_elsewhere_is_in_its_sweeps_folder_and_environment(workplace, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SOBENCH_DATA", "here")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    at_home, sent, restored = (RemoteTask(place, names) for names in ((), (), ("CUDA_VISIBLE_DEVICES",)))
    sent, restored = pickle.loads(pickle.dumps(sent)), pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(restored))))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SOBENCH_DATA", "there")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    monkeypatch.setenv("SOBENCH_CACHE", "there")
    assert at_home(None) == (str(tmp_path), "there", "3")
    assert sent(None) == (str(workplace), "here", "3")
    assert restored(None) == (str(workplace), "here", None)
    gone = RemoteTask(place, context=WorkerContext(str(tmp_path / "gone"), {}))
    assert gone(None) is None and "gone: cannot be entered on" in capsys.readouterr().err


@pytest.fixture
def launched(monkeypatch) -> list[tuple[int, int]]:
    """The number of runs and the first index of each call of the launcher in this process; it makes none of them."""
    from hydra.core.plugins import Plugins

    Plugins.instance()  # it executes the modules of all plug-ins, once
    from hydra._internal.core_plugins.basic_launcher import BasicLauncher

    calls: list[tuple[int, int]] = []
    monkeypatch.setattr(
        BasicLauncher, "launch", lambda self, jobs, initial_job_idx: calls.append((len(jobs), initial_job_idx))
    )
    return calls


def test_the_outcome_of_a_sweep_is_in_the_directories(workplace, launched):
    done = command("run", "-m", *SMALL, "seed=range(5)", "hydra.sweeper.batch=2")
    assert launched == [(2, 0), (2, 2), (1, 4)]
    assert (done.code, done.out.splitlines()[-1]) == (1, "5 runs: 5 missing")


def test_a_launcher_that_gives_up(workplace, monkeypatch, launched):
    monkeypatch.setitem(launchers.TRAITS, "basic", launchers.Traits(at_once=lambda: 0))
    done = command("run", "-m", *SMALL, "seed=0,1")
    line = (
        "basic made no progress 3 times in a row (ValueError: range() arg 3 must not be zero); "
        "repeat the command to run what is missing"
    )
    assert done.code == 1 and done.errors == [f"sobench: hydra/launcher: {line}"]


# What is wrong is one line


@pytest.mark.parametrize("group, name", sorted(key for key in extras.EXTRAS if key[0] != "logger"))
def test_a_plug_in_that_is_not_installed(workplace, monkeypatch, group, name):
    monkeypatch.setattr("importlib.util.find_spec", lambda module: None)
    done = command("run", "-m", *SMALL, "seed=0,1", f"{group}={name}")
    needs = extras.EXTRAS[group, name]
    line = f"{group}: {name} needs a package that is not installed: pip install {needs.package}"
    assert done.code == 2 and done.errors == [f"sobench: {line}"] and not directories()


@pytest.mark.parametrize(
    "words, line",
    [
        (["hydra/launcher=job"], "hydra/launcher: got 'job', allowed: basic, joblib, ray, "),
        (
            ["hydra/launcher=joblib", "hydra.launcher.n_jobs=0"],
            "hydra.launcher.n_jobs: got 0, allowed: -1 (every core) or",
        ),
        (["hydra/launcher=joblib", "hydra.launcher.jobs=2"], "hydra.launcher.jobs: no such key"),
        (
            ["hydra/launcher=submitit_local", "hydra.launcher.timeout_min=soon"],
            "hydra.launcher.timeout_min: got 'soon', allowed: ",
        ),
        (
            ["hydra/launcher=submitit_slurm", "hydra.launcher.array_parallelism=-1"],
            "hydra.launcher.array_parallelism: got -1",
        ),
        (
            ["hydra/launcher=ray", "hydra.launcher.ray.remote.num_gpus=all"],
            "hydra.launcher.ray.remote.num_gpus: got 'all'",
        ),
        (["hydra.sweeper.batch=0"], "hydra.sweeper.batch: got 0, allowed: a whole number of at least 1, or null"),
        (
            ["hydra.sweeper.cells=[optimizer]"],
            "hydra.sweeper.cells: got ['optimizer'], allowed: lists of quoted settings",
        ),
        (["hydra.sweeper.cells=2"], "hydra.sweeper.cells: got 2, allowed: lists of quoted settings"),
        (
            ["optimizer.lr=interval(0,1)"],
            "optimizer.lr=interval(0,1): allowed in a sweep: a list of values, range() or choice(); ",
        ),
        (["--cfg", "job"], "-m --cfg: only one of --run, --multirun"),
        ([*GRID], "hydra/sweeper: optuna has nothing to search; allowed: KEY=VALUE,VALUE"),
        (
            [*GRID, "optimizer.lr=interval(0.1,1)"],
            "optimizer.lr: got an interval, allowed with hydra.sweeper.sampler=grid: a list",
        ),
        (
            [*GRID[:1], "optimizer.lr=tag(log,interval(0,1))"],
            "optimizer.lr=tag(log,interval(0,1)): allowed: interval(LOW,HIGH) with",
        ),
        ([GRID[0], "optimizer=sgd,adam", "optimizer.momentum=0.5,0.9"], "optimizer.momentum: no such key"),
        ([GRID[0], "optimizer.lr=interval(-1,1)"], "optimizer.lr: got -1"),
        ([*GRID, "hydra.sweeper.better=least"], "hydra.sweeper.better: got 'least', allowed: lower or higher"),
        (
            [*GRID[:1], "hydra.sweeper.sampler=best", "l2=0,1"],
            "hydra.sweeper.sampler: got 'best', allowed: tpe, random or grid",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_bad_settings_of_a_sweep(workplace, monkeypatch, words, line):
    if GRID[0] in words:
        pytest.importorskip("optuna")
    monkeypatch.setattr(extras, "is_installed", lambda extra: True)
    done = command("run", "-m", *SMALL, "seed=0,1", *words)
    assert done.code == 2 and not directories()
    (error,) = done.errors
    assert error.startswith(f"sobench: {line}")


# Zipped pairs, and a search


def test_zipped_pairs_on_the_command_line(workplace):
    pairs = 'hydra.sweeper.cells=[["optimizer=sgd","optimizer.lr=0.5"],["optimizer=adam","optimizer.lr=0.01"]]'
    done = command("run", "-m", *SMALL, pairs, "seed=0,1")
    assert (done.code, done.out.splitlines()[-1]) == (0, "4 runs: 4 done")
    chosen = [json.loads((path / "run.json").read_text())["config"]["optimizer"] for path in directories()]
    assert sorted((one["name"], one["lr"]) for one in chosen) == [("adam", 0.01)] * 2 + [("sgd", 0.5)] * 2
    assert command("run", "-m", *SMALL, pairs, "optimizer=adam", "seed=0,1").out == "2 runs: 2 done; nothing to do\n"


@OPTUNA[0]
@OPTUNA[1]
def test_a_search_is_made_once_and_goes_on(workplace):
    words = [
        "-m",
        *SMALL,
        "seed=0,1",
        "optimizer.lr=tag(log,interval(1e-3,1))",
        "batch_size=int(interval(16,64))",
        "hydra/sweeper=optuna",
        "hydra.sweeper.metric=test_accuracy",
        "hydra.sweeper.better=higher",
    ]
    first = command("run", *words, "hydra.sweeper.n_trials=2")
    assert first.code == 0, first
    trials = [line for line in first.out.splitlines() if line.startswith("trial")]
    made = lambda path: json.loads((path / "run.json").read_text())["config"]
    of = lambda lr: [path for path in directories() if made(path)["optimizer"]["lr"] == lr]
    mean = lambda lr: sum(summary(path)["final"]["test_accuracy"] for path in of(lr)) / 2
    rates = [float(line.split("optimizer.lr=")[1].split()[0]) for line in trials]
    assert len(directories()) == 4 and {made(path)["optimizer"]["lr"] for path in directories()} == set(rates)
    assert [float(line.split()[-1]) for line in trials] == pytest.approx([mean(lr) for lr in rates], rel=1e-5)
    best = first.out.splitlines()[-1]
    assert (
        best.startswith(f"best of 2 trials: optimizer.lr={max(rates, key=mean)} batch_size=")
        and "test_accuracy" in best
    )
    more = command("run", *words, "hydra.sweeper.n_trials=3").out.splitlines()
    assert more.count("2 runs: 2 done; nothing to do") == 2 and len(directories()) == 6
    assert [line for line in more if line.startswith("trial")][:2] == trials
    wrong = command("run", *words[:-2], "hydra.sweeper.metric=speed", "hydra.sweeper.n_trials=1")
    assert wrong.code == 2 and wrong.errors[0].startswith(
        "sobench: hydra.sweeper.metric: got 'speed', allowed: test_accuracy, "
    )


@OPTUNA[0]
@OPTUNA[1]
def test_a_trial_that_diverged_is_not_the_best(workplace):
    words = [
        "-m",
        "threads=1",
        "budget.steps=30",
        "model.widths=[100,100]",
        "optimizer.lr=1e6,0.1",
        "evaluate.steps=5",
        *GRID,
    ]
    done = command("run", *words)
    assert done.code == 0 and "optimizer.lr=1000000.0: diverged" in done.out
    assert done.out.splitlines()[-1].startswith("best of 2 trials: optimizer.lr=0.1: train_loss ")
    none = command("run", *[word.replace("1e6,0.1", "1e6,1e7") for word in words])
    assert none.out.splitlines()[-1] == "no trial of 2 finished"
