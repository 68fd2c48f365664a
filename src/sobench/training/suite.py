"""The suite behind `sobench check NAME`: all checks of `sobench.training.contract`, and what each found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from sobench.errors import SobenchError, Unsupported
from sobench.training.contract import CHECKS, Broken, NotSeen, Subject

OK, SKIPPED, UNSEEN, BROKEN = "ok", "skipped", "unseen", "broken"
"""What a check found: nothing wrong; an optimizer that does not support its problem; nothing to judge by; a fault."""


@dataclass(frozen=True)
class Outcome:
    """What a check found. status: one of OK, SKIPPED, UNSEEN, BROKEN. reason: in words; None of a check that passed."""

    check: str
    about: str
    status: str
    reason: str | None = None

    @property
    def lines(self) -> list[str]:
        word = self.status.upper() if self.status == BROKEN else self.status
        return [f"{word:<7} {self.about}", *([f"        {self.reason}"] if self.reason is not None else [])]


class Suite:
    """All checks of one optimizer. outcomes: of those that were made."""

    def __init__(self, name: str, settings: tuple[str, ...] = ()):
        self.name, self.subject = name, Subject(name, settings)
        self.outcomes: list[Outcome] = []

    def run(self) -> Iterator[Outcome]:
        """Make the checks one after another."""
        for name, check in CHECKS.items():
            about = (check.__doc__ or name).strip().splitlines()[0]
            self.outcomes.append(Outcome(name, about, *_made(check, self.subject)))
            yield self.outcomes[-1]

    def count(self, status: str) -> int:
        return sum(outcome.status == status for outcome in self.outcomes)

    @property
    def passed(self) -> bool:
        """Whether no check is broken, and at least one could be made."""
        return bool(self.count(OK)) and not self.count(BROKEN)

    @property
    def conclusion(self) -> str:
        """ "kfac: 9 of 10 checks passed, 1 skipped" """
        rest = "".join(f", {number} {word}" for word in (SKIPPED, UNSEEN) if (number := self.count(word)))
        return f"{self.name}: {self.count(OK)} of {len(CHECKS)} checks passed{rest}"

    def document(self) -> dict[str, Any]:
        """The outcomes for programs."""
        checks = [asdict(outcome) for outcome in self.outcomes]
        return {"optimizer": self.name, "passed": self.passed, "checks": checks}


def _made(check: Callable[[Subject], None], subject: Subject) -> tuple[str, str | None]:
    """The status of a check, and the reason."""
    try:
        check(subject)
    except Unsupported as error:
        return SKIPPED, str(error)
    except NotSeen as reason:
        return UNSEEN, str(reason)
    except Exception as error:  # an optimizer of a plug-in may raise anything: that is a result of the check
        kind = "" if isinstance(error, (Broken, SobenchError)) else f"{type(error).__name__}: "
        return BROKEN, f"{kind}{error}"
    return OK, None
