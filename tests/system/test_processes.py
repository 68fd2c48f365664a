"""A process of a fork server starts in any process, a worker of joblib too."""

import multiprocessing

import pytest

from sobench.system.processes import forkserver_context


def test_a_process_starts_where_a_library_has_a_start_method_of_its_own():
    """A new process takes over the start method by its name, and does not know that of joblib's workers."""
    pytest.importorskip("joblib.externals.loky")
    before = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method("loky", force=True)
    try:
        started = forkserver_context([]).Process(target=print)
        started.start()
        started.join(60)
    finally:
        multiprocessing.set_start_method(before, force=True)
    assert started.exitcode == 0
