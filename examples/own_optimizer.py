"""An optimizer of one's own beside AdamW: `python examples/own_optimizer.py`. It takes some seconds.

The optimizer is a class of mine.py in this folder. It could as well be one of any installed package.
"""

from pathlib import Path

import sobench

MINE = Path(__file__).with_name("mine.py")
RATES = [0.1, 0.01, 0.001]


def main(folder: Path = Path("own-optimizer"), epochs: int = 3) -> None:
    """Sweep the learning rates of both on the digits, and print the best of each."""
    sobench.run(
        dataset="digits",
        model="mlp",
        optimizer=[f"{MINE}:SignDescent", "adamw"],
        settings={"optimizer.lr": RATES, "budget.epochs": epochs},
        seed=range(2),
        runs=folder / "runs",
    )
    report = sobench.summarize(runs=folder / "runs")
    print(report.table[["label", "column", "mean", "stderr", "n"]].to_string(index=False))
    report.figure().savefig(folder / "curves.png")
    print(folder / "curves.png")


if __name__ == "__main__":
    main()
