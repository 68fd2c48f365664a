import pytest

from sobench.errors import UsageError
from sobench.report import read, reports
from sobench.report.schema.spec import Method


def edited(folder, old: str, new: str) -> str:
    """The one line that reading the description says, after an edit."""
    path = folder / "a" / "one.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(UsageError) as caught:
        read("a/one", folder=folder)
    message = str(caught.value)
    assert "\n" not in message and "conf/report/a/one.yaml:" in message
    return message


def test_a_description_is_read_whole(folder):
    report = read("a/one", folder=folder)
    assert (report.id, report.paper, report.experiment) == ("a/one", "a", "a/grid")
    assert report.methods["sgd"] == Method("SGD", {"optimizer": "sgd"})
    assert report.methods["hf_newton"].where == {"optimizer.name": "hf_newton"}
    assert report.table.columns[0].published == {"sgd": 0.91, "newton": [0.5, 0.02]}
    assert report.figure.panels[0].smooth == 20
    assert report.claims[0].test.rivals == ["sgd", "newton"]


def test_reports_are_listed_and_found_by_their_experiment(folder):
    assert reports(folder=folder) == ["a/one"]
    assert reports("a/grid", folder=folder) == ["a/one"] and reports("b/grid", folder=folder) == []


def test_an_unknown_report_is_answered_with_the_nearest(folder):
    with pytest.raises(UsageError, match="report: got 'a/on', allowed: a/one; did you mean 'a/one'"):
        read("a/on", folder=folder)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "title: Test",
            "titel: Test",
            "titel: no such key, allowed: budgets, choice, claims, experiment, figure, methods, notes, settings, "
            "source, table, timing, title; "
            "did you mean 'title'?",
        ),
        ("source: a paper, table 1\n", "", "source: missing"),
        ("label: Time, ", "", "table.columns[1].label: missing"),
        (
            "better: higher, published",
            "beter: higher, published",
            "columns[0].beter: no such key, allowed: at, better, format, growth, label, metric, published, "
            "published_as, reach, rows, where; "
            "did you mean 'better'?",
        ),
        ("better: lower", "better: smaller", "table.columns[1].better: got 'smaller'"),
        ("sgd: 0.91, newton", "sgd: 9e-1x, newton", "table.columns[0].published.sgd: got '9e-1x', allowed: a number"),
        (
            "sgd: 0.91, newton",
            "sdg: 0.91, newton",
            "published.sdg: not a method of this report, allowed: hf_newton, newton, sgd; did you mean 'sgd'?",
        ),
        ("smooth: 20", "smooth: 1e2", "figure.panels[0].smooth: got '1e2', allowed: a number (YAML reads 1e-3 as text"),
        (
            "x: step",
            "x: steps",
            "figure.panels[0].x: got 'steps' without x_label, allowed: cost, epoch, process_seconds, seconds, "
            "step, total_cost, total_seconds, work; did you mean 'step'?",
        ),
        ("format: .3g", "format: .3q", "table.columns[1].format: got '.3q', allowed: a format"),
        (
            "kind: compare",
            "kind: compares",
            "claims[0].test.kind: got 'compares', allowed: bound, compare, ratio, robust, share; did you mean "
            "'compare'?",
        ),
        ("subject: hf_newton", "subject: hf", "claims[0].test.subject.hf: not a method"),
        ("rivals: [sgd, newton]", "rivals: [hf_newton]", "cannot be its own rival"),
        ("rivals: [sgd, newton]", "rivals: []", "rivals: got 0, allowed: one or more, as kind: compare needs"),
        ("rivals: [sgd, newton]", "rivals: [sgd], at_most: 1", "a compare has no bound"),
        ("kind: compare", "kind: ratio", "rivals: got 2, allowed: exactly one, as kind: ratio needs"),
        (
            "test: {kind: compare",
            "test: {kind: ratio, within: [2, 1]",
            "rivals: got 2, allowed: exactly one, as kind: ratio needs",
        ),
        ("rivals: [sgd, newton]", "rivals: sgd", "rivals: got 'sgd', allowed: a list"),
        ("columns:\n", "columns: 3\n  other:\n", "table.other: no such key, allowed: columns"),
        ("notes: [One note.]", "notes: [One note.", "not YAML"),
        (
            "metric: test_accuracy, label",
            "metric: 'a/{seed}', label",
            "columns[0].metric: got 'a/{seed}', allowed: text, with only {method} in braces",
        ),
        (
            "y: loss, rows",
            "y: 'loss/{layer}', rows",
            "figure.panels[0].y: got 'loss/{layer}', allowed: text, with only {method}",
        ),
        ("smooth: 20", "mean_by: step", "panels[0].mean_by: got 'step', allowed: epoch"),
        (
            "smooth: 20",
            "mean_by: epoch",
            "panels[0].mean_by: the means of each epoch are drawn against x: epoch, got x: step",
        ),
        (
            "{x: step, y: loss, rows: train,",
            "{x: epoch, y: loss, mean_by: epoch,",
            "smooth: a panel has smooth or mean_by, not both",
        ),
        (
            "{x: step, y: loss,",
            "{kind: contours, y: loss,",
            "panels[0].kind: got 'contours', allowed: contour, curve, heatmap, profile, sensitivity, "
            "trajectory; did you mean 'contour'?",
        ),
        (
            "{x: step, y: loss, rows: train, smooth: 20,",
            "{kind: contour, method: sgd, metric: loss, levels: x,",
            "panels[0].levels: got 'x', allowed: a whole number of at least 1",
        ),
        (
            "format: .3g}",
            "format: .3g, growth: 3}",
            "columns[1].growth: got 3, allowed: a setting such as optimizer.lr",
        ),
        (
            "format: .3g}",
            "format: .3g, reach: {metric: train_loss}}",
            "columns[1].reach: needs exactly one of at_most, at_least",
        ),
        (
            "format: .3g}",
            "format: .3g, at: best, reach: {metric: train_loss, at_most: 1}}",
            "columns[1].at: a metric is taken",
        ),
        (
            "format: .3g}",
            "format: .3g, at: {epochs: 3}}",
            "columns[1].at: got 'epochs', allowed: cost, epoch, process_seconds, seconds, step, total_cost, "
            "total_seconds, work; did you mean 'epoch'?",
        ),
        ("format: .3g}", "format: .3g, at: {highest: 3}}", "columns[1].at.highest: got 3, allowed: text"),
        (
            "format: .3g}",
            "format: .3g, at: {mean_of_epoch: 0.5}}",
            "columns[1].at.mean_of_epoch: got 0.5, allowed: a whole number of at least 1",
        ),
        ("format: .3g}", "format: .3g, at: first}", "columns[1].at: got 'first', allowed: best, last"),
        ("figure:", "figure:\n  columns: 0", "figure.columns: got 0, allowed: a whole number of at least 1"),
        ("title: Test", "budgets: some\ntitle: Test", "budgets: got 'some', allowed: any, equal"),
    ],
)
def test_every_mistake_is_one_line_with_the_file_and_the_key(folder, old, new, expected):
    assert expected in edited(folder, old, new)


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ("", "exactly one of"),
        ("at_most: 1, at_least: 2", "exactly one of"),
        ("within: [2, 1]", "low < high"),
        ("within: [1]", "a list of 2"),
        ("at_most: 0", "positive"),
    ],
)
def test_the_bounds_of_a_ratio(folder, bounds, expected):
    assert expected in edited(
        folder,
        "kind: compare, metric: test_accuracy, better: higher, subject: hf_newton, rivals: [sgd, newton]",
        f"kind: ratio, metric: seconds, better: lower, subject: newton, rivals: [sgd]{', ' if bounds else ''}{bounds}",
    )


WHOLE = "{kind: compare, metric: test_accuracy, better: higher, subject: hf_newton, rivals: [sgd, newton]}"


@pytest.mark.parametrize(
    ("test", "expected"),
    [
        ("kind: share, rivals: [sgd]", "test.share: missing"),
        (
            "kind: share, share: 1, at_most: 3",
            "test.share: got 1, allowed: a number above 0 and below 1 (of all rows: at: every)",
        ),
        ("kind: share, share: 0.5", "test: a share needs exactly one of at_most, at_least, within"),
        ("kind: share, share: 0.5, rivals: [sgd], at_most: 3", "test.at_most: a share with rivals has no bound"),
        ("kind: bound, at_most: 3, share: 0.5", "test.share: a bound has none"),
        ("kind: bound, at_most: 3, times: 2", "test.times: a bound has none"),
        ("kind: bound, at_most: 3, start: {step: 3}", "test.start: needs kind: share or at: every"),
        (
            "kind: bound, at_most: 3, at: every, start: {steps: 3}",
            "test.start: got 'steps', allowed: cost, epoch, process_seconds, seconds, step, total_cost, "
            "total_seconds, work; did you mean 'step'?",
        ),
        ("kind: bound, at_most: 3, at: ever", "test.at: got 'ever', allowed: best, every, last; did you mean 'every'?"),
        (
            "kind: bound, at_most: 3, at: every, growth: model.widths",
            "test.growth: an exponent has a compare, ratio or bound",
        ),
        (
            "kind: share, share: 0.5, at_most: 3, growth: model.widths",
            "test.growth: an exponent has a compare, ratio or bound",
        ),
        (
            "kind: bound, at_most: 3, at: best, reach: {metric: loss, at_most: 2}",
            "test.at: a metric is taken where reach says",
        ),
        ("kind: robust, share: 0.5", "test.times: missing"),
        ("kind: robust, share: 0.5, times: 0.9", "test.times: got 0.9, allowed: a number above 1"),
        (
            "kind: robust, share: 0.5, times: 2, rivals: [sgd]",
            "test.rivals: got 1, allowed: none, as kind: robust needs",
        ),
        ("kind: robust, share: 0.5, times: 2, at_most: 1", "test.at_most: a robust has no bound"),
        (
            "kind: robust, share: 0.5, times: 2, at: every",
            "test.at: got 'every', allowed: one value a run, as kind: robust needs",
        ),
    ],
)
def test_what_a_test_needs_and_what_it_cannot_have(folder, test, expected):
    assert expected in edited(folder, WHOLE, f"{{metric: test_accuracy, better: higher, subject: hf_newton, {test}}}")


def test_a_contour_names_a_method_of_the_report(folder):
    panel = "{kind: contour, method: newtons, metric: loss, label: Loss}"
    assert (
        "panels[0].methods.newtons: not a method of this report, allowed: hf_newton, newton, sgd; did you mean"
        in edited(
            folder, "{x: step, y: loss, rows: train, smooth: 20, label: Loss, title: by steps, scale: log}", panel
        )
    )
