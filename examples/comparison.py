r"""Which optimizer is first at the target, and how sure is that? `python examples/comparison.py`; it takes seconds.

The command line does the same, and writes the page of the comparison:

    sobench compare sgd,adam,adamw --run dataset=digits model=mlp budget.epochs=10 evaluate.steps=5 seed=0,1,2,3,4 \
        --baseline sgd --axis step,work

The target is the median best loss of the baseline. An evaluation every five steps says when a run gets there.
"""

from pathlib import Path

import sobench


def main(folder: Path = Path("comparison"), epochs: int = 10) -> None:
    """Make the runs, compare, print who is faster, and draw the performance profiles."""
    compared = sobench.compare(
        "sgd,adam,adamw",
        dataset="digits",
        model="mlp",
        settings={"budget.epochs": epochs, "evaluate.steps": 5},
        seed=range(5),
        runs=folder / "runs",
        run=True,
        baseline="sgd",
        axis=["step", "work"],
    )
    print(compared)
    print(compared.ranks[["axis", "rank", "method", "score"]].to_string(index=False))
    compared.figure().savefig(folder / "profiles.png")
    print(folder / "profiles.png")


if __name__ == "__main__":
    main()
