"""The next pass over a queue is due when the first held job may begin: a sleeper sees to it, where that is soon (docs/stages/schedule.md).

Writes: `held/.alarm`, the moment (microseconds) for which a sleeper was started, which holds its lock. A lost one costs a minute: cron looks, too.
How: one `sleep`, detached, then the queue's on-arrival as for anything that arrives. Begin times that are far are cron's business.
"""

from __future__ import annotations

import os
from pathlib import Path

from .cit_format import clock, home, names, spool, wake

SOON = 10 * clock.MINUTE  # nothing sleeps for longer
_SLEEP = 'cd "$2" && { exec 8>>held/.alarm; flock -n 8; sleep "$1"; exec 8>&-; : >.wake; exec sh "$3" . "$4"; }'


def first(file_names: list[str], now: int) -> int:
    """When the first of these held jobs may begin (microseconds); 0 where none is to begin soon by itself."""
    moments = [parts.sequence for parts in map(names.parse, file_names) if parts]
    return min((moment for moment in moments if now < moment <= now + SOON), default=0)


def noted(file: Path) -> int:
    """For when the last sleeper was started; 0 where that is not known."""
    try:
        text = file.read_text()
    except FileNotFoundError:
        return 0
    return int(text) if text.isdigit() else 0


def set_for(queue: home.Queue, now: int) -> None:
    """See to it that a pass is made when the first held job may begin."""
    moment = first(spool.listing(queue / "held"), now)
    file = queue / "held" / ".alarm"
    if not moment or not queue.on_arrival or (now < noted(file) <= moment and spool.is_held(file)):
        return
    spool.replace_contents({file: b"%d" % moment})
    seconds = f"{(moment - now) / clock.SECOND:.2f}"
    script = str(Path(wake.__file__).parent / "sh" / "wake")
    null = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, flags, 0) for fd, flags in ((0, os.O_RDONLY), (1, os.O_WRONLY), (2, os.O_WRONLY))]
    command = ["sh", "-c", _SLEEP, "alarm", seconds, str(queue.path), script, queue.on_arrival]
    os.posix_spawnp("sh", command, os.environ, file_actions=null, setsid=True)
