"""The cells of an experiment, each a list of settings as `optimizer.lr=0.1`; which of them a command line selects. No torch."""

from __future__ import annotations

from typing import Any

from sobench.conf_files import GROUPS
from sobench.errors import UsageError

Cells = list[list[str]]


def checked(cells: Any) -> Cells:
    """Cells as they are. Raises UsageError for what is no list of lists of settings."""
    fine = isinstance(cells, list) and all(isinstance(cell, list) and cell for cell in cells)
    if not (fine and all(isinstance(setting, str) and "=" in setting for cell in cells for setting in cell)):
        raise UsageError(f"hydra.sweeper.cells: got {cells!r}, allowed: lists of quoted settings, as "
                         '[["optimizer=sgd","optimizer.lr=0.1"],["optimizer=adam","optimizer.lr=0.01"]]')
    return cells


def group_keys(cells: Cells) -> set[str]:
    """The config groups that cells choose among."""
    keys = {setting.split("=", 1)[0] for cell in cells for setting in cell}
    return keys & set(GROUPS)


def selected(cells: Cells, values: dict[str, list[str]]) -> Cells:
    """The cells that name the members of the groups given, without the settings that are given."""
    keys = sorted(group_keys(cells) & set(values))
    cells = cells + [cell for key in keys for value in values[key] for cell in _stand_in(cells, value)]
    for key in keys:
        allowed = sorted({s for cell in cells for s in cell if s.startswith(f"{key}=")})
        for value in values[key]:
            if value not in allowed:
                raise UsageError(f"{key}: got {value.split('=', 1)[1]!r}, allowed in this experiment: "
                                 + ", ".join(a.split("=", 1)[1] for a in allowed))
    cells = [cell for cell in cells if all(set(cell) & set(values[key]) for key in keys)]
    return [[s for s in cell if s.split("=", 1)[0] not in values or s.split("=", 1)[0] in GROUPS] for cell in cells]


def _stand_in(cells: Cells, value: str) -> Cells:
    """The cells of a data set as cells of its look-alike, NAME_synthetic for NAME, where that is the value."""
    original = value.removesuffix("_synthetic")
    alike = original != value and original.startswith("dataset=") and not any(value in cell for cell in cells)
    return [[value if s == original else s for s in cell] for cell in cells if original in cell] if alike else []
