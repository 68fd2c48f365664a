"""Make a run in a separate process, so that what it leaves behind, or a crash, affects no other run. No torch here.

The process is forked from a server that has imported torch and has not touched CUDA, so it starts in milliseconds.
Where a system has no such server, the process starts from scratch. Progress, lines and the result come through a
pipe.
"""

from __future__ import annotations

import os
import pickle
import signal
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from sobench.config.run import Run
from sobench.results.rundir import RunDirectory
from sobench.system import parent, stopping
from sobench.system.processes import forkserver_context

POLL = 0.2
"""Seconds between two checks for a request to stop."""

PATIENCE = 10.0
"""Seconds in which a process has to end after its last message."""

PRELOAD = ["sobench.execution.preload"]
"""Modules that the server of the processes imports."""

LAST = ("summary", "error", "died")
"""The kinds of message that no other message follows."""


def isolated(config: Mapping[str, Any]) -> bool:
    """Whether a run of this configuration gets a process of its own.

    A time limit ends a run at any statement, inside torch too, which may be left in any state.
    """
    if config["isolate"] != "auto":
        return config["isolate"]
    return config["device"].startswith("cuda") or config["timeout"] is not None


def execute_isolated(
    run: Run, directory: RunDirectory, progress: Callable[..., None], say: Callable[[str], None]
) -> dict[str, Any]:
    """`attempt.execute` in another process: the same arguments, result and errors.

    If the process ends without a result, the result of the run is `out-of-memory` if the kernel seems to have killed
    it for that reason, else `failed`. A request to stop is passed on to the process, once; a second one kills it.
    """
    from sobench.system.devices import out_of_memory_kills

    kills = out_of_memory_kills()
    child, pipe = _start(run, directory)
    try:
        kind, value = _listen(child, pipe, {"begun": lambda: None, "progress": progress, "say": say})
        child.join(PATIENCE)
    finally:
        child.kill()
        child.join()
        pipe.close()
    if kind == "error":
        raise value
    return value if kind == "summary" else _record_death(directory, child.exitcode, out_of_memory_kills() > kills)


def _start(run: Run, directory: RunDirectory) -> tuple[BaseProcess, Connection]:
    import torch

    context = forkserver_context(PRELOAD)
    ours, theirs = context.Pipe(duplex=False)
    owner = parent.Owner.this_process()  # it holds the leases on the cores and the GPU
    child = context.Process(
        target=_main, args=(theirs, run, directory, owner, dict(os.environ), torch.get_num_threads())
    )
    child.start()
    theirs.close()  # so that the pipe ends when the process ends
    return child, ours


def _listen(child: BaseProcess, pipe: Connection, handlers: Mapping[str, Callable[..., None]]) -> tuple[str, Any]:
    """Pass each message to its handler, until the last one, which is returned: (kind, value).

    Meanwhile pass a request to stop on to the process, once.
    """
    kind, value, interrupted = "", None, False
    while kind not in LAST:
        while not pipe.poll(POLL):
            if stopping.received() and kind and child.pid and not interrupted:
                interrupted = True
                with suppress(ProcessLookupError):
                    os.kill(child.pid, signal.SIGINT)
        kind, value = _receive(pipe)
        if kind in handlers:
            handlers[kind](*value)
    return kind, value


def _receive(pipe: Connection) -> tuple[str, Any]:
    """The next message; ("died", None) if the process has ended."""
    try:
        return pipe.recv()
    except (EOFError, OSError):
        return "died", None


def _record_death(directory: RunDirectory, code: int | None, out_of_memory: bool) -> dict[str, Any]:
    """Write the result of a run whose process ended without one. Its record and its checkpoint stay as they are."""
    if code is not None and code < 0:
        reason = f"killed by signal {-code} ({signal.Signals(-code).name})"
    else:
        reason = f"its process ended with exit code {code}, without a result"
    out_of_memory = out_of_memory and code == -signal.SIGKILL
    if out_of_memory:
        reason += ": the machine's memory was used up"
    with directory.held():
        if finished := directory.finished():  # the process died after it had written the result
            return finished.summary
        if not (directory.path / "run.json").exists():
            directory.describe({})
        last = directory.state()
        reached = {"steps": last.step or 0, "epochs": last.epoch or 0.0, "seconds": last.seconds or 0.0}
        summary = {"status": "out-of-memory" if out_of_memory else "failed", "reason": reason, **reached, "final": {}}
        directory.finish(summary)
        return summary


# In the separate process


def _main(
    pipe: Connection,
    run: Run,
    directory: RunDirectory,
    owner: parent.Owner,
    environment: dict[str, str],
    threads: int,
) -> None:
    os.setsid()  # a signal from a terminal or a cluster to all processes reaches this one only through its parent
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    parent.end_with(owner)
    os.environ.clear()
    os.environ.update(environment)
    try:
        _send(pipe, "begun", ())
        last = "summary", _execute(pipe, run, directory, threads)
    except BaseException as error:
        last = "error", _picklable(error)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _send(pipe, *last)


def _execute(pipe: Connection, run: Run, directory: RunDirectory, threads: int) -> dict[str, Any]:
    import torch

    from sobench.execution.attempt import execute

    torch.set_num_threads(threads)
    return execute(run, directory, lambda *row: _send(pipe, "progress", row), lambda line: _send(pipe, "say", (line,)))


def _send(pipe: Connection, kind: str, value: Any) -> None:
    """Send a message. Ends the process if the parent is dead: no error of the run, a later command resumes it."""
    try:
        pipe.send((kind, value))
    except OSError:
        os._exit(1)


def _picklable(error: BaseException) -> BaseException:
    """The error, or a RuntimeError of its text if it cannot be pickled, with its traceback as a note."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # a class whose arguments are not those of its constructor
        error = RuntimeError(f"{type(error).__name__}: {error}").with_traceback(error.__traceback__)
    error.add_note("".join(traceback.format_exception(error)))
    return error
