import json

import pytest
from filelock import FileLock
from run_tree import a_run, evals, put, row

from sobench.results.state import FINISHED, last_row, state
from sobench.system.heartbeat import locked

ROWS = evals("train_loss", 2.3, 1.0)


def test_no_directory_is_missing(tmp_path):
    assert state(tmp_path / "none").status == "missing"


@pytest.mark.parametrize("status", FINISHED)
def test_a_summary_says_how_it_ended(tmp_path, status):
    found = state(put(tmp_path, a_run("sgd"), ROWS, status, "because", parameters=7))
    assert (found.status, found.reason, found.step, found.epoch) == (status, "because", 10, 1.0)
    assert found.summary["parameters"] == 7
    assert found.finished


def test_without_summary_it_was_interrupted_where_the_rows_end(tmp_path):
    directory = put(tmp_path, a_run("sgd"), ROWS, None)
    with open(directory / "metrics.jsonl", "a") as file:
        file.write('{"kind": "train", "step": 20')  # killed while writing
    found = state(directory)
    assert (found.status, found.step, found.seconds) == ("interrupted", 10, 1.0)


def test_a_held_lock_is_a_running_run_and_asking_leaves_it_held(tmp_path):
    directory = put(tmp_path, a_run("sgd"), ROWS, None)
    with FileLock(directory / "lock") as lock:
        assert state(directory).status == "running"
        assert state(directory).status == "running"
        assert lock.is_locked
    assert state(directory).status == "interrupted"


def test_asking_for_the_lock_makes_no_file(tmp_path):
    assert not locked(tmp_path / "lock")
    assert not (tmp_path / "lock").exists()


def test_a_directory_without_rows_has_nothing_to_resume(tmp_path):
    assert state(put(tmp_path, a_run("sgd"), [], None)).status == "missing"


@pytest.mark.parametrize("text", ["{", "[]", '{"status": "splendid"}', ""])
def test_a_damaged_summary_is_a_reason_not_a_crash(tmp_path, text):
    directory = put(tmp_path, a_run("sgd"), ROWS)
    (directory / "summary.json").write_text(text)
    found = state(directory)
    assert (found.status, found.reason, found.summary) == ("damaged", "summary.json is damaged", {})


def test_the_last_row_is_found_at_the_end_of_a_long_file(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(row("train", step, loss=1.0)) + "\n" for step in range(3000)) + "{half")
    assert last_row(path)["step"] == 2999
