"""Causes of failure as exit statuses, and the one exception that carries them.

Every refusal in cit is a `CitError`: a status, what is wrong, and a hint that says what to do next.
The table is the page docs/messages.md; the numbers are those of sysexits(3) where it has one.
"""

from __future__ import annotations

OK = 0
NO = 1  # the answer is no, or a job failed
USAGE = 2
DATA = 65  # does not parse, over a limit, job missing, doubled or incomplete, unknown version
NOT_FOUND = 66
UNREACHABLE = 69
BUG = 70
IO = 74
LATER = 75  # kept here, will be tried again
DENIED = 77  # unsigned, wrong signature, namespace, key, time, queue, or a replay
CONFIG = 78

# The worst of several wins; what is not named here (a job's own status) ranks last.
ORDER = (BUG, IO, CONFIG, DENIED, DATA, UNREACHABLE, LATER, NO)


class CitError(Exception):
    """One refusal: `status` (see above), `what` is wrong, a `hint` for the reader, `where` (document, line) it is."""

    def __init__(self, status: int, what: str, hint: str = "", where: str = "") -> None:
        super().__init__(what)
        self.status = status
        self.what = what
        self.hint = hint
        self.where = where

    def __reduce__(self) -> tuple[type[CitError], tuple[int, str, str, str]]:
        return CitError, (self.status, self.what, self.hint, self.where)

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" if self.where else self.what


def worst(first: int, second: int) -> int:
    """The status that a run with both causes ends with (docs/messages.md)."""
    ranked = [status for status in ORDER if status in (first, second)]
    return ranked[0] if ranked else first or second
