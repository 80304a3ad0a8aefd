"""Reading and changing one setting of config.toml or queue.toml; comments, order and spelling of the rest stay (docs/decisions/tomlkit.md).

What may be set, and as what, is in settings.tsv. A change is checked like the whole file is, before it is written.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from . import body, dictionary, home
from .body import Value
from .dictionary import Key
from .errors import NOT_FOUND, USAGE, CitError


class Setting(NamedTuple):
    """One setting of a file: its key in the dictionary, and its value there (None: not set)."""

    key: Key
    value: Value | None

    @property
    def row(self) -> tuple[str, str, str, str]:
        """Key, value as TOML or empty, default, why."""
        return self.key.name, written(self.value), self.key.default, self.key.why


def written(value: Value | None) -> str:
    """A value as it stands in the file; empty where it is not set."""
    return "" if value is None else body.toml({"x": value})[4:-1].decode()


def settings(file: Path) -> list[Setting]:
    """All that can be set in this file, and what it is now. 66 where it is no file of settings, 78 where it does not parse."""
    said = home.settings(file)
    known = _keys(file)
    strange = [Key(name, "any", "-", False, "-", frozenset(), "not known to this version") for name in said if name not in known]
    return [Setting(key, said.get(key.name)) for key in (*known.values(), *strange)]


def text(file: Path, name: str) -> str:
    """The value of a key, as text: a list one entry a line; its default where it is not set. 2 where there is no such key."""
    setting = next((one for one in settings(file) if one.key.name == name), None)
    if setting is None:
        raise _unknown(file, name)
    if setting.value is None:
        return "" if setting.key.default == "-" else setting.key.default
    if isinstance(setting.value, list):
        return "\n".join(map(str, setting.value))
    return str(setting.value).lower() if isinstance(setting.value, bool) else str(setting.value)


def meant(key: Key, words: Sequence[str]) -> Value:
    """The value that typed words mean for a key; 2 where they are none."""
    if key.type == "array":
        return [part for word in words for part in word.split(",") if part]
    word = " ".join(words)
    value: Value = word
    if key.type == "bool" and word in ("true", "false"):
        value = word == "true"
    elif key.type == "int" and word.lstrip("-").isdecimal():
        value = int(word)
    wrong = dictionary.objection(key, value)
    if wrong:
        raise CitError(USAGE, f"{key.name} {wrong}", key.why)
    return value


def change(file: Path, name: str, words: Sequence[str] | None) -> None:
    """Set a key to what these words mean, or take it out (None); the rest of the file stays as it was typed."""
    import tomlkit

    key = _keys(file).get(name)
    if key is None:
        raise _unknown(file, name)
    value = None if words is None else meant(key, words)
    home.settings(file)  # 78 before it is touched
    before = file.read_text() if file.exists() else ""
    document = tomlkit.parse(before)
    if value is None:
        document.pop(name, None)
    else:
        document[name] = value
    after = tomlkit.dumps(document)
    body.table(after.encode())
    if after != before:
        home.write_new(Path(os.path.realpath(file)), after.encode())


def _keys(file: Path) -> dict[str, Key]:
    entry = dictionary.read(dictionary.SETTINGS).get((file.name, "1"))
    if entry is None:
        raise CitError(NOT_FOUND, f"{file} is no file of settings", "config.toml and queue.toml are")
    return entry.keys


def _unknown(file: Path, name: str) -> CitError:
    return CitError(USAGE, f"{file.name} has no {name!r}", f"it has {', '.join(_keys(file))}")
