"""A sheet as figure.png and figure.pdf. The same sheet gives the same bytes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sobench.report.figures.style import RC

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PNG, PDF = "figure.png", "figure.pdf"


def save(sheet: Figure, out: Path) -> list[Path]:
    """Write both files into `out`; their paths. Raises OSError."""
    import matplotlib

    matplotlib.use("agg", force=False)
    with matplotlib.rc_context(RC):
        sheet.savefig(out / PNG, metadata={"Software": None})
        sheet.savefig(out / PDF, metadata={"CreationDate": None, "Creator": None, "Producer": None})
    return [out / PNG, out / PDF]
