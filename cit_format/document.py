"""A cit document in memory: its bytes, its sections, and what is appended to it (docs/format/index.md).

A document only grows. So `raw` is never edited: `extended` gives a new document whose bytes begin with the old ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

from . import body as bodies
from . import clock, grammar
from .errors import DATA, CitError


class Section(NamedTuple):
    """One section as it stands in its document; `start` and `end` are byte offsets of its lines there."""

    number: int
    kind: str
    version: str
    form: str
    written: str  # the attributes as written, without the blank before them
    start: int
    end: int
    raw: bytes  # the body as written: quoted, encoded

    @property
    def attributes(self) -> dict[str, str]:
        return grammar.attributes(self.written)

    def body(self) -> bytes:
        """The body: unquoted, base64 decoded; `enc=age` is left as it is."""
        if "enc=base64" in self.written and self.attributes.get("enc") == "base64":
            return bodies.from_base64(self.raw)
        return grammar.unquoted(self.raw)

    def table(self) -> dict[str, bodies.Value]:
        """The keys of a TOML section."""
        return bodies.table(self.body())

    def rows(self) -> list[list[str]]:
        """The rows of a TSV section."""
        return bodies.rows(self.body())


class Document:
    """A complete document: `id`, `name`, all its bytes in `raw`, its `sections` in order."""

    __slots__ = ("id", "name", "raw", "sections", "_tables")

    def __init__(self, identity: str, name: str, raw: bytes, sections: list[Section]) -> None:
        self.id = identity
        self.name = name
        self.raw = raw
        self.sections = sections
        self._tables: dict[int, dict[str, bodies.Value]] = {}

    @property
    def kind(self) -> str:
        """What the document is: its first section's kind; empty where there is none."""
        return self.sections[0].kind if self.sections else ""

    @property
    def label(self) -> str:
        """How people see it: the ID's last six characters and the name."""
        return f"{self.id[-6:]}-{self.name}"

    def find(self, kind: str) -> Section | None:
        """The first section of this kind."""
        return next((section for section in self.sections if section.kind == kind), None)

    def all(self, kind: str) -> Iterator[Section]:
        """Every section of this kind, in order."""
        return (section for section in self.sections if section.kind == kind)

    def table(self, kind: str) -> dict[str, bodies.Value]:
        """The keys of the first section of this kind, read once; empty where there is none. 65 for a version not known."""
        section = self.find(kind)
        if section is None:
            return {}
        if section.version != "1":
            raise CitError(DATA, f"section {kind} has version {section.version[:20]}", "this program knows version 1", self.label)
        return self.table_of(section)

    def table_of(self, section: Section) -> dict[str, bodies.Value]:
        """The keys of one of its TOML sections, read once."""
        if section.number not in self._tables:
            self._tables[section.number] = section.table()
        return self._tables[section.number]

    @property
    def submitted(self) -> bytes:
        """The bytes through the first signature; without one, all."""
        first = self.find("signature")
        return self.raw[: first.end] if first else self.raw

    @property
    def digest(self) -> str:
        """sha256 (hex) of `submitted`: what `seen/` compares."""
        return hashlib.sha256(self.submitted).hexdigest()

    def extended(self, *written: bytes) -> Document:
        """The document with these sections (as `section` writes them) after what it has. They are not parsed again."""
        raw, sections = [self.raw], list(self.sections)
        at = len(self.raw)
        for piece in written:
            line, _, rest = piece.partition(b"\n")
            kind, version, form, attributes = grammar.begin(line)
            inner = rest[: rest.rindex(b"@end ")]
            sections.append(Section(len(sections) + 1, kind, version, form, attributes, at, at + len(piece), inner))
            raw.append(piece)
            at += len(piece)
        longer = Document(self.id, self.name, b"".join(raw), sections)
        longer._tables = dict(self._tables)
        return longer


def section(kind: str, form: str, body: bytes, version: int = 1, /, **attributes: str) -> bytes:
    """The bytes of a section; base64 is used where the body is a tar or no text that ends with a newline."""
    if attributes.get("enc") == "base64" or (attributes.get("enc") != "age" and (form in ("tar", "git-bundle") or not is_text(body))):
        attributes["enc"] = "base64"
        inner = bodies.to_base64(body)
    else:
        inner = grammar.quoted(body)
    written = grammar.written_attributes(attributes)
    head = f"@begin {kind} {version} {form} {written}" if written else f"@begin {kind} {version} {form}"
    return b"%s\n%s@end %s\n" % (head.encode(), inner, kind.encode())


def is_text(body: bytes) -> bool:
    """Whether a body can stand as it is: UTF-8, no CR, no NUL, a newline at its end; an empty one can."""
    if body and (body[-1:] != b"\n" or b"\r" in body or b"\0" in body):
        return False
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def new(name: str, *written: bytes, identity: str | None = None) -> Document:
    """A fresh document of these sections; its ID is minted here unless given."""
    if not grammar.NAME.fullmatch(name):
        raise CitError(DATA, f"{name[:80]!r} is no name", "a name is 1 to 64 of a-z 0-9 . _ -, beginning with a letter or digit")
    identity = identity or clock.new_id()
    return Document(identity, name, f"@cit 1 {identity} {name}\n".encode(), []).extended(*written)
