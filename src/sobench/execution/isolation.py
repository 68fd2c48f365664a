"""A run in a clean process of its own: what it leaves behind, and what kills it, concerns no other run. No torch here.

The process is forked from a server that has imported torch and has not touched CUDA, so that it starts in milliseconds; where
a system has no such server, it starts anew. Progress, lines and the result come through a pipe.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from sobench.config.run import Run
from sobench.results.rundir import RunDirectory
from sobench.system import stopping
from sobench.system.processes import forkserver_context

POLL = 0.2  # seconds between two looks for a request to stop
PATIENCE = 10.0  # seconds that a process may take to end after its last word
PRELOAD = ["torch._dynamo", "sobench.execution.attempt"]
"""What a run imports and takes its time: torch's own optimizers load the first."""
LAST = ("summary", "error", "died")
"""The kinds of a message after which there is none."""


def isolated(config: Mapping[str, Any]) -> bool:
    """Whether a run of this configuration gets a process of its own."""
    return config["device"].startswith("cuda") if config["isolate"] == "auto" else config["isolate"]


def execute_apart(
    run: Run, directory: RunDirectory, progress: Callable[..., None], say: Callable[[str], None]
) -> dict[str, Any]:
    """`execution.execute` in another process: the same arguments, result and errors.

    A process that dies without a result is a result of this run: `out-of-memory` if the kernel killed it for that, as far as
    can be told, else `failed`. An interrupt is handed on to it, once; a second one kills it.
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
    return value if kind == "summary" else _died(directory, child.exitcode, out_of_memory_kills() > kills)


def _start(run: Run, directory: RunDirectory) -> tuple[BaseProcess, Connection]:
    import torch

    context = forkserver_context(PRELOAD)
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_main, args=(theirs, run, directory, dict(os.environ), torch.get_num_threads()))
    child.start()
    theirs.close()  # so that the end of the process is the end of the pipe
    return child, ours


def _listen(child: BaseProcess, pipe: Connection, hear: Mapping[str, Callable[..., None]]) -> tuple[str, Any]:
    """Pass on what the process says, until its last message; and to it, once, that it is asked to stop."""
    kind, told = "", False
    while kind not in LAST:
        while not pipe.poll(POLL):
            if stopping.received() and kind and not told:
                told = True
                with suppress(ProcessLookupError):
                    os.kill(child.pid, signal.SIGINT)
        kind, value = _received(pipe)
        if kind in hear:
            hear[kind](*value)
    return kind, value


def _received(pipe: Connection) -> tuple[str, Any]:
    try:
        return pipe.recv()
    except (EOFError, OSError):
        return "died", None


def _died(directory: RunDirectory, code: int, out_of_memory: bool) -> dict[str, Any]:
    """Write the result of a run whose process is gone; what it recorded, and its checkpoint, stay as they are."""
    if code >= 0:
        reason = f"its process ended with exit code {code}, without a result"
    else:
        reason = f"killed by signal {-code} ({signal.Signals(-code).name})"
    if out_of_memory := out_of_memory and code == -signal.SIGKILL:
        reason += ": the machine's memory was used up"
    with directory.held():
        if found := directory.finished():  # it died after that
            return found.summary
        if not (directory.path / "run.json").exists():
            directory.describe({})
        last = directory.state()
        reached = {"steps": last.step or 0, "epochs": last.epoch or 0.0, "seconds": last.seconds or 0.0}
        summary = {"status": "out-of-memory" if out_of_memory else "failed", "reason": reason, **reached, "final": {}}
        directory.finish(summary)
        return summary


# In the process


def _main(pipe: Connection, run: Run, directory: RunDirectory, environment: dict[str, str], threads: int) -> None:
    os.setsid()  # what a terminal, or a cluster, tells all processes at once reaches this one through its parent
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ.clear()
    os.environ.update(environment)
    try:
        _tell(pipe, "begun", ())
        last = "summary", _execute(pipe, run, directory, threads)
    except BaseException as error:
        last = "error", _portable(error)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _tell(pipe, *last)


def _execute(pipe: Connection, run: Run, directory: RunDirectory, threads: int) -> dict[str, Any]:
    import torch

    from sobench.execution.attempt import execute

    torch.set_num_threads(threads)
    return execute(run, directory, lambda *row: _tell(pipe, "progress", row), lambda line: _tell(pipe, "say", (line,)))


def _tell(pipe: Connection, kind: str, value: Any) -> None:
    """Send a message. Nobody hears it where the parent is dead: to the run that is no error, it goes on elsewhere."""
    try:
        pipe.send((kind, value))
    except OSError:
        os._exit(1)


def _end_with_parent() -> None:
    """The leases on the cores and the GPU are the parent's: without it nothing may go on."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _portable(error: BaseException) -> BaseException:
    """The error as it can be sent, with its traceback as a note."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # a class that cannot be made again from its arguments
        error = RuntimeError(f"{type(error).__name__}: {error}").with_traceback(error.__traceback__)
    error.add_note("".join(traceback.format_exception(error)))
    return error
