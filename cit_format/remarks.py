"""What is wrong with a cit document beyond its grammar: keys, types, writers, bodies (docs/stages/format.md).

Remarks come in the order of the sections; one without a status is a warning, and passes. Nothing here is believed or
verified: `trust` does that. A program `cit-check-SECTION` on PATH is asked too, the body on its stdin.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from . import body, dictionary, document, secret, trust
from .dictionary import ROLES, Entry
from .document import Document, Section
from .errors import DATA, DENIED, OK, CitError


class Remark(NamedTuple):
    """One finding: its status (OK: a warning), what, a hint, and where in the document."""

    status: int
    what: str
    hint: str = ""
    where: str = ""


def remarks(checked: Document) -> Iterator[Remark]:
    """Everything that is to be said about a document."""
    if not checked.sections:
        yield Remark(OK, "a document without sections")
    if checked.kind == "job":
        yield from _job(checked)
    for section in checked.sections:
        place = f"line {checked.raw.count(10, 0, section.start) + 1}: section {section.kind}"
        for remark in _section(checked, section):
            yield remark._replace(where=remark.where or place)


def _job(checked: Document) -> Iterator[Remark]:
    # A job that is not signed yet is judged as if it were signed as it stands.
    signed = checked.find("signature") is not None
    if not signed:
        yield Remark(OK, "not signed yet", "cit-format sign FILE")
    for look in (trust.objection, secret.sealed):
        try:
            look(checked if signed else checked.extended(document.section("signature", "sshsig", b"")))
        except CitError as error:
            yield Remark(error.status, error.what, error.hint)


def _section(checked: Document, section: Section) -> Iterator[Remark]:
    entry = dictionary.read().get((section.kind, section.version))
    if entry is None:
        if dictionary.known(section.kind):
            yield Remark(OK, f"version {section.version[:20]} is not known here", "it passes through; its keys are not looked at")
    else:
        yield from _writer(checked, section, entry)
        yield from attributes(entry, section.attributes)
        if section.form != entry.form:
            yield Remark(DATA, f"its format is {section.form}, not {entry.form}", f"it reads: @begin {section.kind} {section.version} {entry.form}")
            return
    if section.attributes.get("enc") == "age":
        return
    yield from contents(section.form, section.body(), entry)
    if section.kind == "interface":
        yield from interface(section.attributes.get("name", "it"), section.body())
    yield from _by_program(section)


def _writer(checked: Document, section: Section, entry: Entry) -> Iterator[Remark]:
    """Whether the signature that speaks for a section is in a role that may write it."""
    if section.kind in ("signature", "note"):
        return
    speaking = next((other for other in checked.all("signature") if other.number > section.number), None)
    if speaking is None:
        return
    namespace = speaking.attributes.get("ns", "")
    if namespace not in ROLES:
        yield Remark(OK, f"the signature after it is for {namespace[:40] or 'nothing'}, which has no power here")
    elif not ROLES[namespace] & entry.writers:
        what = f"the signature that speaks for it is for {namespace}; only {' or '.join(sorted(entry.writers))} may write it"
        yield Remark(DENIED, what, "a stage appends its own sections only, then signs")


def attributes(entry: Entry, given: dict[str, str]) -> Iterator[Remark]:
    """Attributes of a control line: missing, wrong, unknown."""
    for name, key in entry.attributes.items():
        if name not in given:
            if key.required:
                yield Remark(DATA, f"attribute {name} is missing", key.why)
            continue
        # Several recipients stand in one attribute, a comma between them.
        values = given[name].split(",") if key.type == "fingerprint" else [given[name]]
        for what in filter(None, (dictionary.text_objection(key, value) for value in values)):
            yield Remark(DATA, f"attribute {name} {what}", key.why)
    for name in given:
        if name not in entry.attributes and name != "enc":
            yield Remark(OK, f"unknown attribute {name[:40]}", "it passes through and has no power")


def contents(form: str, inner: bytes, entry: Entry | None) -> Iterator[Remark]:
    """A body by its format, and by its entry where the dictionary has one."""
    try:
        if form == "toml":
            yield from _table(body.table(inner), entry)
        elif form == "tsv":
            yield from _rows(body.rows(inner), entry)
        elif form in PARSERS:
            PARSERS[form](inner)
    except CitError as error:
        yield Remark(error.status, error.what, error.hint)
    except UnicodeDecodeError:
        yield Remark(DATA, f"its {form} is no UTF-8")


def interface(name: str, inner: bytes) -> Iterator[Remark]:
    """What is wrong with what an interface says of itself, beyond its columns."""
    from . import description

    try:
        description.parse(name, inner)
    except CitError as error:
        yield Remark(error.status, error.what, error.hint)


def _table(table: dict[str, body.Value], entry: Entry | None) -> Iterator[Remark]:
    if entry is None:
        return
    for name, key in entry.keys.items():
        if name in table:
            what = dictionary.objection(key, table[name])
            if what:
                yield Remark(DATA, f"{name} {what}", key.why)
        elif key.required:
            yield Remark(DATA, f"{name} is missing", key.why)
    if "*" not in entry.keys:
        for name in table:
            if name not in entry.keys:
                yield Remark(OK, f"unknown key {name[:60]}", "is it spelt right? it passes through and has no power")


def _rows(rows: list[list[str]], entry: Entry | None) -> Iterator[Remark]:
    if entry is None:
        return
    columns = list(entry.keys.values())
    for number, row in enumerate(rows, 1):
        if len(row) != len(columns):
            names = ", ".join(key.name for key in columns)
            yield Remark(DATA, f"row {number} has {len(row)} columns, not {len(columns)}", f"they are: {names}")
            continue
        for key, field in zip(columns, row):
            what = dictionary.text_objection(key, field)
            if what:
                yield Remark(DATA, f"row {number}: {key.name} {what}", key.why)


# --- formats that this program does not write -------------------------------------------------------------------------


def _json(inner: bytes) -> None:
    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(found)) != len(found):
            raise ValueError("a key is given twice in one object")
        return dict(found)

    def constant(name: str) -> None:
        raise ValueError(f"{name} is no JSON")

    try:
        json.loads(inner, object_pairs_hook=pairs, parse_constant=constant)
    except RecursionError:
        raise CitError(DATA, "its JSON is nested too deeply") from None
    except ValueError as why:
        raise CitError(DATA, f"it is no JSON: {why}") from None


def _xml(inner: bytes) -> None:
    """Well-formed, without a document type: entities could read files and grow without end."""
    from xml.parsers import expat

    def refuse(*_: object) -> None:
        raise CitError(DATA, "a document type (DOCTYPE) in XML", "entities are not taken; write what they stand for")

    parser = expat.ParserCreate("UTF-8")
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(inner, True)
    except expat.ExpatError as why:
        raise CitError(DATA, f"it is no XML: {why}") from None


PARSERS: dict[str, Callable[[bytes], None]] = {"json": _json, "xml": _xml}


# --- other people's checks ----------------------------------------------------------------------------------------------


def _by_program(section: Section) -> Iterator[Remark]:
    """What `cit-check-SECTION` says, if there is one: the body on stdin, nothing of the job in its arguments."""
    import shutil

    program = shutil.which(f"cit-check-{section.kind}")
    if program is None:
        if section.form == "yaml":
            yield Remark(OK, "YAML is not looked into", f"a program cit-check-{section.kind} on PATH would be asked")
        return
    import subprocess
    import tempfile

    with tempfile.TemporaryFile() as stdin:  # a pipe would end us where the program does not read all of it
        stdin.write(section.body())
        stdin.seek(0)
        run = subprocess.run([program], check=False, stdin=stdin, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    said = run.stderr.decode("utf-8", "replace").strip()
    if run.returncode:
        status = run.returncode if run.returncode > 0 else DATA
        yield Remark(status, f"cit-check-{section.kind}: {said or f'ended with status {run.returncode}'}")
    elif said:
        yield Remark(OK, f"cit-check-{section.kind}: {said}")
