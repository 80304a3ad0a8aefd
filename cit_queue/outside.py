"""What is shown to those who see a job only because it says so (`watch`), where its interface has a public view (docs/format/interface.md).

Reads: `public` in a job's record, which says that there is such a view; work/COPY-NAME.public, the view, made when the job has ended.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Callable, Optional

from .cit_format import fetch, home, names
from .cit_format.errors import NOT_FOUND, CitError

MARK, SUFFIX = "public", ".public"
Whole = Optional[Callable[[Path], bool]]  # of which documents somebody sees all; None: of all


def sees_all(path: Path, whole: Whole) -> bool:
    """Whether the asker sees log and files of this job as they are."""
    if whole is None:
        return True
    with contextlib.suppress(OSError, CitError):
        return whole(path)
    return False


def has_view(account: home.Account, path: Path) -> bool:
    """Whether outsiders get a view instead; `path` is a document of the account, in a state or in its record."""
    if path.name == fetch.KEPT:
        return (path.parent / MARK).exists()
    parts = names.parse(path.name)
    return parts is not None and (account / "work" / f"{parts.copy}-{parts.name}.run" / MARK).exists()


def view(account: home.Account, copy_name: str, paths: Iterable[Path], whole: Whole) -> Path | None:
    """The file that an asker gets instead of a log; None where that is the log itself. 66 where there is none yet."""
    if (account / "work" / f"{copy_name}.run" / MARK).exists() and not any(sees_all(path, whole) for path in paths):
        found = account / "work" / f"{copy_name}{SUFFIX}"
        if not found.exists():
            raise CitError(NOT_FOUND, "what its interface shows of it is there when it has ended", "its submitter sees the log: cit log")
        return found
    return None
