"""Build hook of the suite: the shell programs in bin/ become programs of the wheel; no list of them is kept.

Links are left out (the stages come as entry points), and so is cit-setup, which is for checkouts only. Names that start with a dot
come along: programs source them, and a bundle for a builder needs them. An editable install has them too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ShellPrograms(BuildHookInterface):  # type: ignore[type-arg]
    """Adds bin/cit and bin/cit-VERB to the wheel's scripts."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        for program in sorted(Path(self.root, "bin").iterdir()):
            if program.name != "cit-setup" and program.is_file() and not program.is_symlink():
                build_data["shared_scripts"][str(program)] = program.name
