"""Output that cannot be written ends no command and fails no run."""

import errno
import io
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from harness import SMALL, directories, finish, output, process, run_with, summary

from sobench.results.rundir import RunDirectory
from sobench.system.output import Unfailing, say, unfailing

SWEEP = ["run", "-m", *SMALL, "seed=0,1,2"]


class Full(io.StringIO):
    def __init__(self, number: int = errno.ENOSPC):
        super().__init__()
        self.number = number

    def write(self, text):
        raise OSError(self.number, os.strerror(self.number))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EPIPE, errno.EIO])
def test_nothing_is_raised_and_a_lost_output_is_known(monkeypatch, number):
    monkeypatch.setattr(sys, "stdout", Full(number))
    say("a line")
    with unfailing() as errors:
        print("another", flush=True)
    assert [error.errno for error in errors] == [number] * (number != errno.EPIPE)


def test_what_can_be_written_is(monkeypatch):
    stream = io.StringIO()
    guarded = Unfailing(stream)
    print("one", file=guarded)
    say("two", stream)
    assert stream.getvalue() == "one\ntwo\n" and guarded.error is None
    stream.close()
    print("three", file=guarded)
    assert isinstance(guarded.error, ValueError)


@dataclass(frozen=True)
class PrintTo:
    """Standard output of a process is this file."""

    path: str

    def __call__(self) -> None:
        os.dup2(os.open(self.path, os.O_WRONLY), 1)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("more", [[], pytest.param(["isolate=true"], marks=pytest.mark.slow)])
def test_a_sweep_whose_output_is_full_makes_every_run(workplace, more):
    assert finish(process(*SWEEP, *more, folder=workplace, prepare=PrintTo("/dev/full"))) == 1
    printed = output(workplace)  # on standard error
    assert printed == "sobench: standard output: No space left on device; all else was done as without it\n"
    assert [summary(path)["status"] for path in directories()] == ["done"] * 3
    assert not any("error.txt" in {file.name for file in path.iterdir()} for path in directories())


def test_a_reader_that_goes_ends_no_sweep(workplace):
    os.mkfifo("pipe")
    sweep = process(*SWEEP, folder=workplace, prepare=PrintTo("pipe"))
    with open("pipe", "rb") as reader:
        assert reader.readline() == b"3 runs: 3 to run\n"
    assert finish(sweep) == 0 and output(workplace) == ""
    assert [summary(path)["status"] for path in directories()] == ["done"] * 3


def test_a_result_that_stands_is_not_refused(tmp_path):
    directory = RunDirectory(run_with(), tmp_path)
    with directory.held():
        directory.describe({"threads": 1})
        directory.finish({"status": "done", "reason": None, "steps": 1, "final": {}})
    before = {file.name: file.read_bytes() for file in directory.path.iterdir()}
    assert directory.refuse("failed", "its line could not be printed")["status"] == "done"
    assert {file.name: file.read_bytes() for file in directory.path.iterdir()} == before


def test_a_run_that_is_refused_keeps_its_environment(tmp_path):
    """So that it can still be stale when it has resumed."""
    directory = RunDirectory(run_with(), tmp_path)
    with directory.held():
        directory.describe({"fingerprint": {"scheme": 2, "method": "of then", "data": None}})
    assert directory.refuse("failed", "No space left on device")["status"] == "failed"
    assert directory.environment()["fingerprint"]["method"] == "of then"
