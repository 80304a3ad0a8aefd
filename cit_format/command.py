"""How a stage's command line starts: Typer without its extras, errors and usage faults as statuses (docs/messages.md)."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from typing import Any

import typer

from . import messages
from .errors import OK, USAGE, CitError
from .version import VERSION


def new_app(**settings: Any) -> typer.Typer:
    """A Typer application as all stages have it: no rich, no completion at run time."""
    settings.setdefault("context_settings", {"help_option_names": ["-h", "--help"]})
    return typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None, **settings)


def start(name: str, act: Callable[..., Any] | typer.Typer, speaks: Callable[[], str] | None = None) -> None:
    """Run a stage's command and end the process with its status. `--speaks` and `--version` are answered here, before anything else."""
    if sys.argv[1:] == ["--version"]:
        print(f"{name} {VERSION}")
        sys.exit(OK)
    if sys.argv[1:] == ["--speaks"] and speaks is not None:
        sys.stdout.write(speaks())
        sys.exit(OK)
    # Documents make no cycles: looking for some among all that is alive, every 700 objects, costs a long stream a tenth.
    gc.freeze()
    gc.set_threshold(50_000)
    gc.enable()  # bin/.stage.py turned it off while modules were loaded
    if isinstance(act, typer.Typer):
        app = act
    else:
        app = new_app()
        app.command()(act)
    sys.exit(messages.guarded(name, lambda: _status(name, app)))


def _status(name: str, app: typer.Typer) -> int:
    usage_error: Any = typer.BadParameter.__mro__[2]  # ClickException, wherever this Typer keeps its Click

    try:
        ended = app(prog_name=name, standalone_mode=False)
    except usage_error as error:
        raise CitError(USAGE, error.format_message(), f"{name} --help says what it takes") from None
    except typer.Abort:
        return 1
    return ended if isinstance(ended, int) else OK


def speaks(reads: dict[str, str], writes: dict[str, str]) -> str:
    """The answer to `--speaks`: TSV, sorted: `reads` or `writes`, section, version."""
    rows = [("reads", *item) for item in reads.items()] + [("writes", *item) for item in writes.items()]
    return "".join("\t".join(row) + "\n" for row in sorted(rows))


def own_programs_last() -> None:
    """Programs of cit are found by passes that start from here, as sshd gives a short PATH; others of their names go before them."""
    folder = os.path.abspath(getattr(sys.modules["__main__"], "__file__", None) or "/")
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    path = os.environ.get("PATH") or os.defpath
    if folder not in path.split(os.pathsep):
        os.environ["PATH"] = f"{path}{os.pathsep}{folder}"
