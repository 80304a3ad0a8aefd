"""Who beside the account may look into its workspaces, or change them: the members of its own group, where its owner says so.

    cit config workspace-group r      they may read; rw: they may change what is there
    cit config workspace-group none   nobody, as it is without it

Opened are the workspace itself and the way to it (x alone); records, logs, secrets, store and documents stay the account's. The group is the one that
the account has: nothing is given to anybody else, there is no chown. Page: docs/howto/workspaces.md
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Mapping

from .cit_format import body
from .cit_format.errors import CONFIG, CitError

SETTING = "workspace-group"
MODES = {"none": 0o700, "r": 0o750, "rw": 0o2770}  # of a workspace
MASKS = {"none": 0o022, "r": 0o022, "rw": 0o002}  # of what is made in it


def access(settings: Mapping[str, body.Value]) -> str:
    """What the account's group may do in workspaces: none, r or rw; 78 where the setting says anything else."""
    said = str(settings.get(SETTING, "none"))
    if said not in MODES:
        raise CitError(CONFIG, f"{SETTING} says {said[:40]!r}", "none, r or rw")
    return said


def let_in(home: str, workspace: str, may: str) -> None:
    """Open a workspace of this home to the account's group, or close it. A directory that is another link by now, or gone, stays as it is."""
    ways = [(workspace, MODES[may])]
    if may != "none":
        ways += [(way, 0o010) for way in (os.path.dirname(workspace), f"{home}/work", home)]
    for path, wanted in ways:
        with contextlib.suppress(OSError):
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | (os.O_NOFOLLOW if path == workspace else 0))
            try:
                present = stat.S_IMODE(os.fstat(fd).st_mode)
                mode = wanted if path == workspace else present | wanted
                if mode != present:
                    os.fchmod(fd, mode)
            finally:
                os.close(fd)
