"""Which optimizer is first at the target, and how sure is that? `python examples/comparison.py`. It takes some seconds.

The command line does the same, and writes the page of the comparison:

    sobench compare sgd,adam,adamw --run dataset=digits model=mlp budget.epochs=10 seed=0,1,2 --baseline sgd
"""

from pathlib import Path

import sobench


def main(folder: Path = Path("comparison"), epochs: int = 10) -> None:
    """Make the runs, compare, print who is faster, and draw the performance profiles."""
    compared = sobench.compare(
        "sgd,adam,adamw",
        dataset="digits",
        model="mlp",
        settings={"budget.epochs": epochs},
        seed=range(3),
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
