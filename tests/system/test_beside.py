"""Work beside other work: the same files whether a fork writes them or this process, and errors are raised here."""

import os
import threading
import time

import pytest

from sobench.system import beside as module
from sobench.system.beside import beside


@pytest.fixture(params=[True, False], ids=["fork", "here"])
def forks(request, monkeypatch):
    monkeypatch.setattr(module, "_may_fork", lambda: request.param)
    return request.param


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
    forks, forked = [], module._forked
    monkeypatch.setattr(module, "_may_fork", lambda: True)
    monkeypatch.setattr(module, "_forked", lambda work: forks.append(forked(work)) or forks[0])
    with pytest.raises(ZeroDivisionError), beside(lambda: time.sleep(60)):
        1 / 0  # noqa: B018
    with pytest.raises(ChildProcessError):
        os.waitpid(forks[0], os.WNOHANG)


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
