"""Files that are no cit files and yet decide something: queue.toml, config.toml, key lists, trigger lists, bare sections.

Which one a file is, its name says; a TOML file of another name is told by its keys (docs/stages/format.md).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from . import body, dictionary
from .errors import CONFIG, CitError
from .remarks import Remark, contents, interface

_KEYS = ("allowed_names", "allowed_signers", "revoked_keys")


def kind(name: str, content: bytes) -> str:
    """What a file is by its name (without directories), else by its keys; empty where it is a stream of documents."""
    if re.match(rb"@cit(-stream)? ", content):
        return ""
    stem, _, suffix = name.rpartition(".")
    if name in _KEYS or (name, "1") in dictionary.read(dictionary.SETTINGS):
        return name
    if suffix == "triggers" or name == "triggers":
        return "triggers"
    if suffix in ("toml", "tsv"):
        entry = dictionary.read().get((stem, "1"))
        if entry and entry.form == suffix:
            return stem
    if suffix == "toml":
        return "builder" if re.search(rb"^\s*(slots|load-limit)\s*=", content, re.M) else "toml"
    return ""


def remarks(what: str, name: str, content: bytes) -> Iterator[Remark]:
    """What is to be said about the content of such a file."""
    try:
        if what == "allowed_signers":
            from .signers import Signers, parse_allowed_signers

            Signers(parse_allowed_signers(content.decode(), name))
        elif what == "revoked_keys":
            from .signers import parse_revoked_keys

            parse_revoked_keys(content.decode(), name)
        elif what == "allowed_names":
            from .limited import parsed

            parsed(content.decode(), name)
        elif what == "triggers":
            yield from _triggers(content.decode())
        elif what == "toml":
            body.table(content)
        else:
            settings = dictionary.read(dictionary.SETTINGS).get((what, "1"))
            entry = settings or dictionary.read()[what, "1"]
            for remark in contents(entry.form, content, entry):
                yield remark._replace(status=CONFIG) if settings and remark.status else remark
            if what == "interface":
                yield from interface(name, content)
    except CitError as error:
        yield Remark(error.status, error.what, error.hint, error.where)
    except UnicodeDecodeError:
        yield Remark(CONFIG, "bytes that are no UTF-8", "these files are plain text")


def _triggers(text: str) -> Iterator[Remark]:
    """A trigger list: what each line looks at, and what it pushes; `#` turns a line off."""
    from . import triggers

    for line in triggers.lines(text):
        if isinstance(line, triggers.Fault):
            yield Remark(line.error.status, line.error.what, line.error.hint, line.error.where)
