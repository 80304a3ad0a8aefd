"""Build hook of the suite: the shell programs in bin/ become programs of the wheel; no list of them is kept.

Links are left out (the stages come as entry points), and so are names that start with a dot and cit-setup, which is
for checkouts only. An editable install has them too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ShellPrograms(BuildHookInterface):  # type: ignore[type-arg]
    """Adds bin/cit and bin/cit-VERB to the wheel's scripts."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        for program in sorted(Path(self.root, "bin").glob("cit*")):
            if program.name != "cit-setup" and not program.is_symlink():
                build_data["shared_scripts"][str(program)] = program.name
