"""A sweep, its results as a data frame, and a figure: `python examples/first_sweep.py`. It takes a minute."""

from pathlib import Path

import matplotlib.pyplot as plt

import sobench

OPTIMIZERS = ["sgd", "adam", "kfac"]
RATES = [0.1, 0.01, 0.001]


def main(folder: Path = Path("first-sweep")) -> None:
    """Sweep learning rates of three optimizers, print the best one of each, and draw their curves."""
    runs = sobench.run(
        dataset="digits",
        model="mlp",
        optimizer=OPTIMIZERS,
        settings={"optimizer.lr": RATES, "budget.epochs": 5},
        seed=range(3),
        runs=folder / "runs",
    )
    scores = runs.groupby(["optimizer", "optimizer.lr"])["test_accuracy"].agg(["mean", "sem", "count"])
    best = scores.loc[scores.groupby("optimizer")["mean"].idxmax()]
    print(best.to_string(float_format="{:.4f}".format))

    rows = sobench.results(folder / "runs", rows="eval")
    fig, axes = plt.subplots(figsize=(5, 3.5), layout="constrained")
    for optimizer, rate in best.index:
        chosen = rows[(rows["optimizer"] == optimizer) & (rows["optimizer.lr"] == rate)]
        curve = chosen.groupby("epoch")["test_accuracy"].mean()
        axes.plot(curve.index, curve, label=f"{optimizer}, lr {rate:g}")
    axes.set(xlabel="epoch", ylabel="test accuracy, mean of 3 seeds")
    axes.legend()
    fig.savefig(folder / "curves.png", dpi=150)
    print(folder / "curves.png")


if __name__ == "__main__":
    main()
