"""What the rules look at: the rooms, their projects, their sources and imports; and what is installed around this test."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import tomlkit

CHECKOUT = Path(__file__).resolve().parents[2]
ROOMS = sorted(path.parent.name for path in CHECKOUT.glob("cit_*/pyproject.toml"))
STAGES = [room for room in ROOMS if room != "cit_format"]


class Import(NamedTuple):
    """One imported module: `level` dots and a name, as written; `lazy` when only a function (or a type checker) imports it."""

    line: int
    level: int
    name: str
    lazy: bool


def project(room: str) -> dict[str, Any]:
    """The [project] table of a room's pyproject.toml; "." is the suite's."""
    table: dict[str, Any] = tomlkit.parse((CHECKOUT / room / "pyproject.toml").read_text()).unwrap()["project"]
    return table


def programs(room: str) -> dict[str, str]:
    """Program names of a room and the MODULE:FUNCTION that each starts."""
    scripts: dict[str, str] = project(room)["scripts"]
    return scripts


def bare_name(requirement: str) -> str:
    """The distribution that a requirement names, as the index spells it."""
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found, requirement
    return re.sub(r"[-_.]+", "-", found[0]).lower()


def required(room: str) -> set[str]:
    """Distributions that a room always needs."""
    return {bare_name(each) for each in project(room)["dependencies"]}


def optional(room: str) -> set[str]:
    """Distributions that a room needs for an extra only."""
    return {bare_name(each) for extra in project(room).get("optional-dependencies", {}).values() for each in extra}


def sources(room: str) -> list[Path]:
    """A room's own Python files; its cit_format link is left out."""
    return sorted(path for path in (CHECKOUT / room).rglob("*.py") if "cit_format" not in path.relative_to(CHECKOUT / room).parts)


def imports(path: Path) -> Iterator[Import]:
    """Every module that a file imports."""

    def visit(node: ast.AST, lazy: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from (Import(child.lineno, 0, alias.name, lazy) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                yield Import(child.lineno, child.level, child.module or "", lazy)
            inside = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            types = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test)
            yield from visit(child, lazy or inside or types)

    yield from visit(ast.parse(path.read_text(), str(path)), False)


def closure(names: set[str]) -> dict[str, metadata.Distribution]:
    """The installed distributions that these need, and what those need, without extras and other systems' markers."""
    found: dict[str, metadata.Distribution] = {}
    queue = sorted(names)
    while queue:
        name = queue.pop()
        if name in found:
            continue
        try:
            found[name] = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # behind a marker that is false here
        queue += [bare_name(each) for each in found[name].requires or [] if "extra ==" not in each]
    return found
