"""The documents of a stream in groups, as they are put: at most 1,000 or 8 MiB, ended early when there is nothing to read.

While one full group is taken in, the next one is read: taking in waits for the disk and for signatures, reading for neither.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar, Union

from .cit_format import frame, put, reader
from .cit_format.document import Document
from .cit_format.reader import Faulty

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

Arrival = Union[Document, Faulty]
Taken = TypeVar("Taken")


def in_groups(fd: int, take: Callable[[list[Arrival]], Taken], give: Callable[[Taken], None]) -> None:
    """Have each group taken, one after the other, and give what came of it, in order; all of it before a read that would wait."""
    group: list[Arrival] = []
    size = 0
    pool: Executor | None = None
    beside: Future[Taken] | None = None

    def settle() -> None:
        nonlocal group, size, beside
        if beside:
            taken, beside = beside.result(), None
            give(taken)
        if group:
            some, group, size = group, [], 0
            give(take(some))

    def read(limit: int) -> bytes:
        if not select.select([fd], [], [], 0)[0]:
            settle()
        return os.read(fd, limit)

    try:
        for arrival in reader.documents(frame.unframed(read)):
            group.append(arrival)
            size += arrival.size if isinstance(arrival, Faulty) else len(arrival.raw)
            if len(group) >= put.GROUP_DOCUMENTS or size >= put.GROUP_BYTES:
                full, group, size = group, [], 0
                settle()
                if pool is None:
                    from concurrent.futures import ThreadPoolExecutor

                    pool = ThreadPoolExecutor(1)
                beside = pool.submit(take, full)
        settle()
    finally:
        if pool:
            pool.shutdown()
