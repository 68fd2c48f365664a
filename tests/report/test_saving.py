"""The files of a figure: the same whether a fork writes them or this process, and errors are raised here."""

import os
import threading
import time

import pytest
from matplotlib.figure import Figure

from sobench.report.figures import saving as module
from sobench.report.figures.saving import PDF, PNG, save, saving


@pytest.fixture
def sheet():
    sheet = Figure(figsize=(2, 1))
    sheet.subplots().plot([1, 2], [3, 4], label="a line")
    return sheet


@pytest.fixture(params=[True, False], ids=["fork", "here"])
def forks(request, monkeypatch):
    monkeypatch.setattr(module, "_may_fork", lambda: request.param)
    return request.param


def files(folder) -> list[bytes]:
    return [(folder / name).read_bytes() for name in (PNG, PDF)]


def test_the_files_are_those_of_save(sheet, forks, tmp_path):
    (tmp_path / "other").mkdir()
    with saving(sheet, tmp_path):
        pass
    assert save(sheet, tmp_path / "other") == [tmp_path / "other" / name for name in (PNG, PDF)]
    assert files(tmp_path) == files(tmp_path / "other")


def test_a_fork_works_while_the_body_runs(sheet, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "_may_fork", lambda: True)
    with saving(sheet, tmp_path):
        for _ in range(600):
            if (tmp_path / PDF).exists():
                break
            time.sleep(0.05)
        else:
            pytest.fail("nothing was written")


def test_an_error_is_raised_at_the_end(sheet, forks, tmp_path):
    done = []
    with pytest.raises(FileNotFoundError), saving(sheet, tmp_path / "missing"):
        done.append("body")
    assert done == ["body"]


def test_an_error_of_the_body_leaves_no_process(sheet, monkeypatch, tmp_path):
    forks, forked = [], module._forked
    monkeypatch.setattr(module, "_may_fork", lambda: True)
    monkeypatch.setattr(module, "_forked", lambda *args: forks.append(forked(*args)) or forks[0])
    with pytest.raises(ZeroDivisionError), saving(sheet, tmp_path):
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
