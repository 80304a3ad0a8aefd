"""cit-format: its place is kept here until the program comes."""

from __future__ import annotations

import typer


def run() -> None:
    """Start cit-format with the arguments of this process."""
    typer.run(main)


def main() -> None:
    """Nothing yet."""
