"""The figure of a comparison: the performance profiles on each axis, with their simultaneous bands."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from sobench.report.comparison.analysis import OnAxis
from sobench.report.comparison.profiles import WIDEST
from sobench.report.comparison.study import Study
from sobench.report.figures import legend
from sobench.report.figures.style import DASHES, PALETTE, RC
from sobench.results.axes import AXES


def draw(study: Study, numbers: dict[str, OnAxis], out: Path) -> list[Path]:
    """Write figure.png and figure.pdf into `out`."""
    import matplotlib

    matplotlib.use("agg", force=False)
    from matplotlib.figure import Figure

    with matplotlib.rc_context(RC):
        axes_of = list(study.axes)
        sheet = Figure(figsize=(3.7 * len(axes_of), 3.0), layout="constrained", dpi=RC["savefig.dpi"])
        artists: list[Any] = []
        for place, (panel, axis) in enumerate(
            zip(sheet.subplots(1, len(axes_of), squeeze=False)[0], axes_of, strict=True)
        ):
            artists = _panel(panel, study, numbers[axis])
            panel.set(
                xlabel=f"factor of the least {AXES[axis].partition(' (')[0]}", title=AXES[axis].partition(" (")[0]
            )
            if place == 0:
                panel.set_ylabel("share of problems and seeds")
        legend.below(sheet, artists, study.methods)
        layout: Any = sheet.get_layout_engine()
        layout.execute(sheet)
        sheet.set_layout_engine(None)
        paths = [out / "figure.png", out / "figure.pdf"]
        sheet.savefig(paths[0], metadata={"Software": None})
        sheet.savefig(paths[1], metadata={"CreationDate": None, "Creator": None, "Producer": None})
    return paths


def _panel(panel: Any, study: Study, numbers: OnAxis) -> list[Any]:
    """Draw one axis; a line for each method."""
    profiles, artists = numbers.profiles, []
    ticks = [1, 1.5, 2, 3, WIDEST]
    for place, _ in enumerate(study.methods):
        style: dict[str, Any] = {"color": PALETTE[place % len(PALETTE)], "linestyle": DASHES[place // len(PALETTE) % 4]}
        shares, width = profiles.shares[place], profiles.width[place]
        artists += panel.step(profiles.factors, shares, where="post", **style)
        if not math.isnan(width):
            low, high = (np.clip(shares + sign * width, 0, 1) for sign in (-1, 1))
            panel.fill_between(profiles.factors, low, high, step="post", color=style["color"], alpha=0.08, linewidth=0)
    panel.set_xscale("log")
    panel.set(xlim=(1, WIDEST), ylim=(-0.02, 1.02))
    panel.set_xticks(ticks, labels=[f"{tick:g}" for tick in ticks])
    panel.xaxis.set_minor_locator(_none())
    return artists


def _none() -> Any:
    from matplotlib.ticker import NullLocator

    return NullLocator()
