"""A sweep, its results as a data frame, and its report: `python examples/first_sweep.py`. It takes some seconds."""

from pathlib import Path

import sobench

OPTIMIZERS = ["sgd", "adam", "kfac"]
RATES = [0.1, 0.01, 0.001]


def main(folder: Path = Path("first-sweep"), epochs: int = 3) -> None:
    """Sweep learning rates of three optimizers, print the best one of each, and draw their curves."""
    runs = sobench.run(
        dataset="digits",
        model="mlp",
        optimizer=OPTIMIZERS,
        settings={"optimizer.lr": RATES, "budget.epochs": epochs},
        seed=range(3),
        runs=folder / "runs",
    )
    scores = runs.groupby(["optimizer", "optimizer.lr"])["test_accuracy"].agg(["mean", "sem", "count"])
    print(scores.to_string(float_format="{:.4f}".format))

    report = sobench.summarize(runs=folder / "runs")
    print(report.settings.query("shown == 1").to_string(index=False))
    report.figure().savefig(folder / "curves.png")
    print(folder / "curves.png")


if __name__ == "__main__":
    main()
