"""The reports there are, and how one is read: every mistake in a file is one line that names it and the key."""

from __future__ import annotations

from pathlib import Path

from sobench.errors import UsageError
from sobench.report.schema.check import build, nearest
from sobench.report.schema.references import check_references
from sobench.report.schema.spec import Method, Report


def root() -> Path:
    """The folder of the reports that ship with sobench."""
    from sobench.config.files import conf_dir

    return conf_dir() / "report"


def reports(experiment: str | None = None, *, folder: Path | None = None) -> list[str]:
    """Every report's id, `<paper>/<artifact>`; or those that show the runs of one experiment."""
    folder = folder or root()
    found = sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.glob("*/*.yaml"))
    return [name for name in found if experiment is None or read(name, folder=folder).experiment == experiment]


def experiment_of(report_id: str) -> str:
    """The experiment whose runs the report shows."""
    return read(report_id).experiment


def read(report_id: str, *, folder: Path | None = None) -> Report:
    """The report of this id. Raises UsageError, one line with the file and the key, on anything that is not right."""
    folder = folder or root()
    known = reports(folder=folder)
    if report_id not in known:
        raise UsageError(f"report {report_id}: there is none of that name; {nearest(report_id, known)}")
    path = folder / f"{report_id}.yaml"
    file = f"conf/report/{report_id}.yaml"
    data = _yaml(path, file)
    report = build(Report, data, f"{file}: ")
    methods = {name: Method(method) if isinstance(method, str) else method for name, method in report.methods.items()}
    methods = {name: Method(m.label, m.where or {"optimizer": name}) for name, m in methods.items()}
    report = Report(**{**report.__dict__, "methods": methods, "id": report_id, "file": file})
    check_references(report)
    return report


def _yaml(path: Path, file: str) -> object:
    import yaml

    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" line {mark.line + 1}:" if mark else ""
        raise UsageError(f"{file}:{place} not YAML: {getattr(error, 'problem', None) or error}") from None
