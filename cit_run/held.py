"""How long a failed workspace stays as it is for its author (`hold-on-failure`, docs/howto/workspaces.md).

Reads and writes: `hold` in the record of a job that asks for it, its duration in microseconds: counted from the end of a job that did not end
well. `cit clean JOB` ends it by removing that.
"""

from __future__ import annotations

from collections.abc import Mapping

from . import recorded
from .cit_format import body, clock
from .cit_format.errors import CONFIG, CitError

HOLD = "hold"
MOST = "hold-most"  # setting of config.toml: the longest that this account holds a workspace
DEFAULT = clock.DAY


def longest(settings: Mapping[str, body.Value]) -> int:
    """The longest hold that this account grants (microseconds); 78 where the setting is no duration."""
    wanted = settings.get(MOST)
    if wanted is None:
        return DEFAULT
    try:
        return clock.duration(str(wanted))
    except CitError as error:
        raise CitError(CONFIG, f"{MOST} says {str(wanted)[:40]}", error.hint) from None


def file(wanted: int, settings: Mapping[str, body.Value]) -> dict[str, bytes]:
    """The file for the record of a job that asks for so long a hold; none where it asks for none."""
    return {HOLD: b"%d\n" % min(wanted, longest(settings))} if wanted else {}


def until(record: str, ended: int) -> int:
    """Until when the workspace of a job that failed then stays (microseconds); 0 where it does not."""
    try:
        return ended + int(recorded.read(f"{record}/{HOLD}", 40) or b"0")
    except ValueError:
        return 0
