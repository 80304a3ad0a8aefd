"""Which processors a job keeps to: its own ones, as long as some are free (docs/howto/limits.md). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def chosen(wanted: int, there: Sequence[int], taken: Iterable[Sequence[int]]) -> list[int]:
    """The processors of a job that says how many it wants (0: it says nothing), beside jobs that keep to the ones `taken`; none: it may use all.

    One that says how many gets those that the fewest others have. One that does not runs where nobody has processors of his own, if there is
    such a place.
    """
    users = dict.fromkeys(there, 0)
    for cores in taken:
        for core in cores:
            if core in users:
                users[core] += 1
    if wanted:
        found = sorted(sorted(there, key=lambda core: (users[core], core))[:wanted])
    else:
        found = [core for core in there if not users[core]]
    return found if 0 < len(found) < len(users) else []
