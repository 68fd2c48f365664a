"""The list of reports, and the reader of one: each error in a file is one line that names the file and the key."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from sobench.config.registry import suggestion
from sobench.config.schema import build, plain
from sobench.errors import UsageError
from sobench.report.schema.references import check_references
from sobench.report.schema.spec import Method, Note, Report


def _roots(folder: Path | None) -> list[Path]:
    """The folder given; without one the user's own folder of reports, if any, and that of sobench."""
    from sobench.config.files import conf_dirs

    return [folder] if folder else [conf / "report" for conf in conf_dirs()]


def _files(folder: Path | None) -> dict[str, Path]:
    """{id: file} of all reports, sorted by their ids; a file of the user's own goes before one of sobench."""
    found: dict[str, Path] = {}
    for root in _roots(folder):
        for path in root.glob("*/*.yaml"):
            found.setdefault(f"{path.parent.name}/{path.stem}", path)
    return dict(sorted(found.items()))


def reports(experiment: str | None = None, *, folder: Path | None = None) -> list[str]:
    """The ids of all reports, `<paper>/<artifact>`; of one experiment, those that show its runs."""
    files = _files(folder)
    return [name for name in files if experiment is None or _read(name, files[name]).experiment == experiment]


def read(report_id: str, *, folder: Path | None = None) -> Report:
    """The report of this id. Raises UsageError for any error in its file: one line with the file and the key."""
    files = _files(folder)
    if report_id not in files:
        raise UsageError(f"report: got {report_id!r}, {suggestion(report_id, files, 'sobench list reports')}")
    return _read(report_id, files[report_id])


def _read(report_id: str, path: Path) -> Report:
    """The report of this id in its file. Raises as `read`."""
    file = f"conf/report/{report_id}.yaml"
    report = read_file(path, report_id, file)
    if not (report.experiment or report.settings):
        raise UsageError(f"{file}: experiment: got null, allowed: an experiment, or null beside `settings`")
    return report


def read_file(path: Path, report_id: str, file: str) -> Report:
    """The report that a file describes. file: the name of the file in messages. Raises as `read`."""
    report = build(Report, _yaml(path, file), f"{file}: ")
    methods = {name: _method(name, method) for name, method in report.methods.items()}
    notes = [note if isinstance(note, Note) else Note(note) for note in report.notes]
    report = replace(report, methods=methods, notes=notes, id=report_id, file=file)
    check_references(report)
    return report


def as_yaml(report: Report) -> str:
    """The text of a file that describes the report."""
    import yaml

    return yaml.safe_dump(plain(report), sort_keys=False, width=110, allow_unicode=True)


def _method(name: str, given: Method | str) -> Method:
    """A method as the file gives it, a label alone or a label and its runs, with the default for the runs."""
    method = Method(given) if isinstance(given, str) else given
    return Method(method.label, method.where or {"optimizer": name})


def _yaml(path: Path, file: str) -> object:
    import yaml

    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" line {mark.line + 1}:" if mark else ""
        raise UsageError(f"{file}:{place} not YAML: {getattr(error, 'problem', None) or error}") from None
