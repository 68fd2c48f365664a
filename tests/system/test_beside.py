"""Work beside other work: the same whether a fork does it or this process, and errors are raised here."""

import os
import threading
import time

import pytest

from sobench.system import beside as module
from sobench.system.beside import beside, each


@pytest.fixture(params=[True, False], ids=["fork", "here"])
def forks(request, monkeypatch):
    monkeypatch.setattr(module, "_may_fork", lambda: request.param)
    return request.param


@pytest.fixture(autouse=True)
def no_fork_is_left(monkeypatch):
    """After each test: every fork that this process made has ended, and was waited for."""
    fork, made = os.fork, []

    def counted() -> int:
        made.append(fork())
        return made[-1]

    monkeypatch.setattr(os, "fork", counted)
    yield
    for process in made:
        with pytest.raises(ChildProcessError):
            os.waitpid(process, os.WNOHANG)


def test_the_work_is_done_once_when_the_context_ends(forks, tmp_path):
    file = tmp_path / "file"

    def work() -> None:
        with file.open("a") as stream:
            stream.write(f"{os.getpid()} ")

    with beside(work):
        here = os.getpid()
    (process,) = file.read_text().split()
    assert (int(process) != here) is forks


def test_a_fork_works_while_the_body_runs(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "_may_fork", lambda: True)
    with beside((tmp_path / "file").touch):
        for _ in range(600):
            if (tmp_path / "file").exists():
                break
            time.sleep(0.01)
        else:
            pytest.fail("nothing was written")


def test_an_error_is_raised_at_the_end(forks, tmp_path):
    done = []
    with pytest.raises(FileNotFoundError), beside((tmp_path / "missing" / "file").touch):
        done.append("body")
    assert done == ["body"]


def test_an_error_of_the_body_leaves_no_process(monkeypatch):
    monkeypatch.setattr(module, "_may_fork", lambda: True)
    begun = time.perf_counter()
    with pytest.raises(ZeroDivisionError), beside(lambda: time.sleep(60)):
        1 / 0  # noqa: B018
    assert time.perf_counter() - begun < 30


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_each_result_is_at_the_place_of_its_item(forks, count, monkeypatch):
    monkeypatch.setattr(module, "cores", lambda: [0, 1, 2])
    found = each(lambda item: (item**2, os.getpid()), range(count))
    assert [square for square, _ in found] == [item**2 for item in range(count)]
    assert len({process for _, process in found}) == min(count, 3 if forks else 1)


def test_results_larger_than_a_pipe_holds(forks, monkeypatch):
    monkeypatch.setattr(module, "cores", lambda: [0, 1])
    assert each(lambda item: bytes([item]) * 1_000_000, [1, 2]) == [b"\1" * 1_000_000, b"\2" * 1_000_000]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_error_of_an_item_is_raised_here(forks, place, monkeypatch):
    monkeypatch.setattr(module, "cores", lambda: [0, 1, 2])
    with pytest.raises(ZeroDivisionError):
        each(lambda item: 1 / (item - place), [0, 1, 2])


def test_a_fork_that_dies_is_made_good_here(monkeypatch):
    monkeypatch.setattr(module, "_may_fork", lambda: True)
    monkeypatch.setattr(module, "cores", lambda: [0, 1])
    here = os.getpid()
    assert each(lambda item: item if os.getpid() == here else os._exit(9), [1, 2]) == [1, 2]


def test_threads_of_other_code_forbid_a_fork(monkeypatch):
    monkeypatch.setattr(module, "cores", lambda: [0, 1])
    monkeypatch.setattr(module.sys, "platform", "linux")
    monkeypatch.setattr(module.threading, "enumerate", lambda: [threading.main_thread()])
    assert module._may_fork()
    over = threading.Event()
    for name, allowed in (("heartbeat", True), ("kernel", False)):
        thread = threading.Thread(target=over.wait, name=name)
        monkeypatch.setattr(module.threading, "enumerate", lambda thread=thread: [threading.main_thread(), thread])
        assert module._may_fork() is allowed
    monkeypatch.setattr(module, "cores", lambda: [0])
    assert not module._may_fork()
