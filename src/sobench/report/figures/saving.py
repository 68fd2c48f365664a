"""A sheet as figure.png and figure.pdf. The same sheet gives the same bytes.

Both take as long as a page, most of it for the fonts of the PDF. Where a process may be forked safely, a fork writes
them beside the work that follows.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sobench.report.figures.style import RC
from sobench.system.devices import cores

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PNG, PDF = "figure.png", "figure.pdf"
OWN = ("heartbeat",)
"""The threads of sobench's own that may run: they hold no lock that a figure needs."""


def save(sheet: Figure, out: Path) -> list[Path]:
    """Write both files into `out`; their paths. Raises OSError."""
    import matplotlib

    matplotlib.use("agg", force=False)
    with matplotlib.rc_context(RC):
        sheet.savefig(out / PNG, metadata={"Software": None})
        sheet.savefig(out / PDF, metadata={"CreationDate": None, "Creator": None, "Producer": None})
    return [out / PNG, out / PDF]


@contextmanager
def saving(sheet: Figure, out: Path) -> Iterator[None]:
    """Write both files into `out` while the body runs, which does not change the sheet. Raises OSError at the end."""
    fork = _forked(sheet, out) if _may_fork() else None
    try:
        yield
    except BaseException:
        if fork:
            os.kill(fork, signal.SIGKILL)
            os.waitpid(fork, 0)
        raise
    if not fork or os.waitpid(fork, 0)[1]:
        save(sheet, out)


def _may_fork() -> bool:
    """Whether this process has another core to use, and no thread of other code, which could hold a lock."""
    others = {thread.name for thread in threading.enumerate()} - {threading.main_thread().name, *OWN}
    return sys.platform == "linux" and not others and len(cores()) > 1


def _forked(sheet: Figure, out: Path) -> int:
    """The id of a process that writes both files; its exit code is 0 if it did."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of numpy's threads, which a fork leaves behind
        fork = os.fork()
    if fork:
        return fork
    code = 1
    try:
        save(sheet, out)
        code = 0
    finally:
        os._exit(code)  # whatever was raised: this process tries again, and raises it there
