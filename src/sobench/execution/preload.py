"""Imports, in a fork server, the modules of a run that take long: the server's processes start in milliseconds.

Python's fork server ends with the process that started it, but not before its imports are over, which takes seconds.
"""

import importlib
import os

from sobench.system.parent import POLL
from sobench.system.processes import run_periodically

MODULES = ("torch._dynamo", "sobench.execution.attempt")
"""Some optimizers need the first one."""

_parent = os.getppid()


def _end_with_parent() -> float:
    if os.getppid() != _parent:
        os._exit(1)
    return POLL


with run_periodically(_end_with_parent, POLL, "parent"):
    for module in MODULES:
        importlib.import_module(module)
