"""When a log grew, as `times` of its job's record tells (docs/stages/run.md): from a byte to its moment, and the other way round. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from .cit_format import clock
from .cit_format.errors import CitError


class Index:
    """Rows of a moment (microseconds) and of how many bytes the log had by then; what is no such row, as a torn last one, is left out."""

    def __init__(self, text: bytes = b"") -> None:
        self.moments: list[int] = []
        self.sizes: list[int] = []
        for line in text.split(b"\n")[:-1]:
            time, _, size = line.decode("ascii", "replace").partition("\t")
            try:
                moment = clock.parse(time)
            except CitError:
                continue
            if size.isdigit():
                self.add(moment, int(size))

    def add(self, moment: int, size: int) -> None:
        """One row more; a clock that steps back stands still."""
        while self.sizes and self.sizes[-1] > size:  # the middle of the log was cut out
            self.sizes.pop()
            self.moments.pop()
        if size > (self.sizes[-1] if self.sizes else 0):
            self.moments.append(max(moment, self.moments[-1] if self.moments else moment))
            self.sizes.append(size)

    def moment(self, at: int) -> int | None:
        """When the byte at this place was printed; None where no row tells."""
        number = bisect_right(self.sizes, at)
        return self.moments[number] if number < len(self.moments) else None

    def start(self, moment: int) -> int:
        """The first byte that was printed at this moment or later, as far as rows tell."""
        number = bisect_left(self.moments, moment)
        return self.sizes[number - 1] if number else 0
