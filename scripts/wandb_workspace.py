"""A wandb dashboard of an experiment, with a panel for each figure and column of its reports.

    python scripts/wandb_workspace.py demo/digits                  # write its definition to workspace.json or --out
    python scripts/wandb_workspace.py demo/digits --entity me      # also save it to wandb: pip install wandb-workspaces

The definition is made from conf/experiment and conf/report alone. It needs no runs, and a network only to be saved.
"""

import argparse
import json
import sys
from pathlib import Path

from sobench.config.files import about, members
from sobench.config.registry import suggestion
from sobench.errors import SobenchError, UsageError
from sobench.report import read, reports
from sobench.report.schema.panels import Contour, Panel
from sobench.report.schema.spec import Report
from sobench.results.loggers.base import shown_as

DERIVED = {"total_seconds": "seconds"}
"""Axis of a figure that is not a column of the rows -> the column to show in its place."""


def definition(experiment: str, project: str = "sobench") -> dict:
    """The dashboard as plain data: a section for each report, and the tag that selects the runs.

    Raises UsageError for an unknown experiment.
    """
    if experiment not in members("experiment"):
        raise UsageError(f"experiment: got {experiment!r}, {suggestion(experiment, members('experiment'))}")
    sections = [section(read(name)) for name in reports(experiment)]
    sections = [part for part in sections if part["curves"] or part["bars"]]
    plain = {"name": experiment, "curves": [curve("epoch", "train/loss")], "bars": []}
    return {
        "project": project,
        "name": f"{experiment}: {about(f'experiment/{experiment}') or 'runs'}",
        "tag": experiment,
        "group_by": "cell",
        "sections": sections or [plain],
    }


def section(report: Report) -> dict:
    """The section of a report: the curves of its figure, and a bar chart for each column of its table or contour plot.

    Other panels of a figure are left out; they are in the report's artifact.
    """
    figure = report.figure.panels if report.figure else []
    panels = [panel for panel in figure if isinstance(panel, Panel)]
    curves = [
        curve(
            column(panel.x, panel.rows),
            column(panel.y.replace("{method}", method), panel.rows),
            panel.title or panel.label,
            panel.x_scale == "log",
            panel.scale == "log",
        )
        for panel in panels
        for method in (panel.methods or report.methods if "{method}" in panel.y else [""])
    ]
    columns = report.table.columns if report.table else []
    shown = [c for c in columns if not (c.reach or c.growth)] + [
        panel for panel in figure if isinstance(panel, Contour)
    ]
    bars = [{"title": c.label or c.metric, "metric": column(c.metric, c.rows)} for c in shown]
    return {"name": report.title, "curves": curves, "bars": bars}


def curve(x: str, y: str, title: str = "", log_x: bool = False, log_y: bool = False) -> dict:
    """A line plot of column `y` over column `x`."""
    return {"title": title or y, "x": x, "y": y, "log_x": log_x, "log_y": log_y}


def column(name: str, rows: str) -> str:
    """The name in wandb of a column of the record. rows: the kind of its rows, train or eval."""
    return shown_as(DERIVED.get(name, name), rows)


def workspace(dashboard: dict, entity: str):
    """The dashboard as a Workspace of wandb-workspaces, whose `save()` sends it."""
    import wandb_workspaces.reports.v2 as panels
    import wandb_workspaces.workspaces as workspaces

    sections = []
    for part in dashboard["sections"]:
        lines = [panels.LinePlot(**{**c, "y": [c["y"]]}, groupby=dashboard["group_by"]) for c in part["curves"]]
        bars = [
            panels.BarPlot(title=bar["title"], metrics=[bar["metric"]], groupby=dashboard["group_by"])
            for bar in part["bars"]
        ]
        sections.append(workspaces.Section(name=part["name"], panels=[*lines, *bars], is_open=True))
    runs = workspaces.RunsetSettings(filters=[workspaces.Tags().isin([dashboard["tag"]])])
    return workspaces.Workspace(
        entity=entity, project=dashboard["project"], name=dashboard["name"], sections=sections, runset_settings=runs
    )


def main(arguments: list[str]) -> int:
    """Write the dashboard, and save it if --entity is given. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("experiment")
    parser.add_argument("--project", default="sobench")
    parser.add_argument("--entity", help="save it to wandb, for this user or team")
    parser.add_argument("--out", type=Path, default=Path("workspace.json"))
    args = parser.parse_args(arguments)
    try:
        dashboard = definition(args.experiment, args.project)
        args.out.write_text(json.dumps(dashboard, indent=1) + "\n")
        print(args.out)
        if args.entity:
            print(workspace(dashboard, args.entity).save().url)
    except ImportError:
        print("sobench: --entity needs wandb-workspaces; pip install wandb-workspaces", file=sys.stderr)
        return 2
    except SobenchError as error:
        print(f"sobench: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"sobench: --out: cannot write {args.out}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
