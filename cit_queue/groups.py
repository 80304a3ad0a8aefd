"""The documents of a stream in groups, as they are put: at most 1,000 or 8 MiB, ended early when there is nothing to read.

While one full group goes to the disk, the next is judged and one more is read: each waits for something else. They are put, and
answered, in the order in which they came.
"""

from __future__ import annotations

import os
import select
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar, Union

from .cit_format import frame, put, reader
from .cit_format.document import Document
from .cit_format.reader import Faulty

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

Arrival = Union[Document, Faulty]
Taken = TypeVar("Taken")
AT_ONCE = 2  # groups that are taken in at a time


def in_groups(fd: int, take: Callable[[list[Arrival], Callable[[], object]], Taken], give: Callable[[Taken], None]) -> None:
    """Have each group taken and give what came of it, in order; all of it before a read that would wait.

    `take` calls what it is given second before it changes anything: it waits until the group before is done.
    """
    group: list[Arrival] = []
    size = 0
    pool: Executor | None = None
    beside: deque[Future[Taken]] = deque()

    def settle() -> None:
        nonlocal group, size
        while beside:
            give(beside.popleft().result())
        if group:
            some, group, size = group, [], 0
            give(take(some, lambda: None))

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
                if len(beside) == AT_ONCE:
                    give(beside.popleft().result())
                if pool is None:
                    from concurrent.futures import ThreadPoolExecutor

                    pool = ThreadPoolExecutor(AT_ONCE)
                beside.append(pool.submit(take, full, beside[-1].result if beside else lambda: None))
        settle()
    finally:
        if pool:
            pool.shutdown()
