"""Who may say what: OpenSSH's allowed_signers and revoked_keys.

Reads   an allowed_signers file, a revoked_keys file (one public key a line, or a KRL); a missing file is an empty one
Fails   77 a key that may not speak, each cause in words of its own; 78 a file or a line that is not accepted, by number
How     stricter than ssh-keygen: every line has namespaces=, names are plain, a key is one person in a namespace.
        A KRL is asked by way of `ssh-keygen -Q`, once a key.
Pages   docs/format/signatures.md
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from . import sshsig
from .errors import CONFIG, DENIED, CitError
from .keys import read_guarded
from .sshsig import PublicKey

if TYPE_CHECKING:
    from .handover import Handover

PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+:/=-]*")
OPTION = r'[a-z-]+(?:="[^"\\]*")?'
OPTIONS = re.compile(rf"({OPTION}(?:,{OPTION})*)[ \t]+")
MOMENT = re.compile(r"(\d{4})(\d\d)(\d\d)(?:(\d\d)(\d\d)(\d\d)?)?(Z?)", re.ASCII)
KRL_MAGIC = b"SSHKRL"
NAMESPACE = "cit-queue"  # of keys that a handover lets speak


class Allowed(NamedTuple):
    """One principal of a line of allowed_signers: this key may speak as `principal` in these namespaces."""

    principal: str
    namespaces: tuple[str, ...]
    key: PublicKey
    valid_after: datetime | None
    valid_before: datetime | None
    line: int


def parse_allowed_signers(text: str, name: str) -> list[Allowed]:
    """The lines of an allowed_signers file, one entry a principal; CitError 78 at NAME:LINE for what is forbidden."""
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        line = line.strip()
        if line and not line.startswith("#"):
            try:
                found += _entries(line, number)
            except CitError as why:
                raise CitError(CONFIG, why.what, why.hint, f"{name}:{number}") from None
    return found


def _entries(line: str, number: int) -> list[Allowed]:
    names, rest = (*line.split(None, 1), "")[:2]
    given: dict[str, str] = {}
    if (rest.split(None, 1) or [""])[0] not in sshsig.KEY_SHAPES:
        match = OPTIONS.match(rest)
        if not match:
            hint = 'write: USER@HOST namespaces="cit-job" KIND BASE64 COMMENT'
            raise CitError(CONFIG, "after the name there is neither an option nor a kind of key that is accepted", hint)
        given, rest = _options(match[1]), rest[match.end() :]
    key = sshsig.parse_public_key(rest)
    if "namespaces" not in given:
        raise CitError(CONFIG, "the line has no namespaces=", f'write: {names} namespaces="cit-job" {key.line}')
    spaces = tuple(given["namespaces"].split(","))
    for space in spaces:
        if not PLAIN.fullmatch(space):
            hint = 'list them one by one, without patterns, "!" or blanks'
            raise CitError(CONFIG, f"the namespace {space!a} is not plain", hint)
    for principal in names.split(","):
        if not PLAIN.fullmatch(principal):
            hint = 'write people one by one, as USER@HOST, without patterns, quotes or "!"'
            raise CitError(CONFIG, f"the name {principal!a} is not plain", hint)
    after, before = (_moment(word, given[word]) if word in given else None for word in ("valid-after", "valid-before"))
    if after and before and before <= after:
        raise CitError(CONFIG, "valid-before is not later than valid-after", "give the later of the two times to valid-before")
    return [Allowed(principal, spaces, key, after, before, number) for principal in names.split(",")]


def _options(text: str) -> dict[str, str]:
    given: dict[str, str] = {}
    for option in re.findall(OPTION, text):
        word, _, value = option.partition("=")
        if word not in ("namespaces", "valid-after", "valid-before"):
            raise CitError(CONFIG, f"the option {word!a} is not accepted", "options are namespaces, valid-after and valid-before")
        if word in given:
            raise CitError(CONFIG, f"the option {word} is there twice", "write it once, its values with commas between them")
        given[word] = value.strip('"')
    return given


def _moment(word: str, text: str) -> datetime:
    """OpenSSH's YYYYMMDD[HHMM[SS]][Z]; without Z in local time."""
    match = MOMENT.fullmatch(text)
    try:
        if not match:
            raise ValueError
        year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
        moment = datetime(year, month, day, hour, minute, second, tzinfo=timezone.utc)
    except ValueError:
        hint = f'write it in UTC, as {word}="20261123Z" or {word}="20261123202611Z"'
        raise CitError(CONFIG, f"{word} is no time: {text!a}", hint) from None
    if match[7]:
        return moment
    # OpenSSH takes local time as the zone's standard time, in summer too.
    return datetime.fromtimestamp(time.mktime((*moment.timetuple()[:8], 0)), timezone.utc)


class Signers:
    """The keys that may speak, and those that no longer may, as two files say it."""

    def __init__(self, allowed: Iterable[Allowed], revoked: Iterable[PublicKey] = (), krl: bytes = b"", name: str = "allowed_signers") -> None:
        self.name = name
        self.allowed: dict[bytes, list[Allowed]] = {}
        self.revoked = dict.fromkeys((key.blob for key in revoked), True)
        self.krl = krl
        self.handovers: dict[str, Handover] = {}  # by a queue's full name: who speaks for it now
        for entry in allowed:
            others = self.allowed.setdefault(entry.key.blob, [])
            for other in others:
                common = set(other.namespaces) & set(entry.namespaces)
                if common and other.principal != entry.principal:
                    what = f"one key is {other.principal} (line {other.line}) and {entry.principal} in the namespace {min(common)}"
                    hint = "a signature says who signed by its key alone: keep one of the names"
                    raise CitError(CONFIG, what, hint, f"{name}:{entry.line}")
            others.append(entry)

    @classmethod
    def read(cls, allowed: Path, revoked: Path | None = None) -> Signers:
        """From the two files; CitError 78 when one holds what is forbidden, or when others can write it."""
        text, gone = _read(allowed), _read(revoked) if revoked else b""
        krl = gone if gone.startswith(KRL_MAGIC) else b""
        keys = [] if krl or not revoked else parse_revoked_keys(_text(gone, revoked), str(revoked))
        return cls(parse_allowed_signers(_text(text, allowed), str(allowed)), keys, krl, str(allowed))

    def hand_over(self, handovers: dict[str, Handover]) -> Signers:
        """Believe also the keys to which queues were handed over; what they assigned before counts no more (trust.assigned)."""
        self.handovers = handovers
        for each in handovers.values():
            if not any(NAMESPACE in entry.namespaces for entry in self.allowed.get(each.public.blob, [])):
                self.allowed.setdefault(each.public.blob, []).append(Allowed(each.identity, (NAMESPACE,), each.public, None, None, 0))
        return self

    def with_more(self, entries: Iterable[Allowed]) -> Signers:
        """The same list with these entries for keys that it does not have in that namespace."""
        more = Signers([], (), self.krl, self.name)
        more.allowed, more.revoked, more.handovers = {blob: list(known) for blob, known in self.allowed.items()}, self.revoked, self.handovers
        for entry in entries:
            known = more.allowed.setdefault(entry.key.blob, [])
            if not any(set(entry.namespaces) & set(other.namespaces) for other in known):
                known.append(entry)
        return more

    def principal(self, key: PublicKey, namespace: str, now: datetime) -> str:
        """Who signs with this key in this namespace at this time (aware); CitError 77 says why nobody does."""
        who = f"the key {key.fingerprint}"
        if self.is_revoked(key):
            raise CitError(DENIED, f"{who} is revoked", "sign with another key, and have that one allowed")
        entries = self.allowed.get(key.blob)
        if not entries:
            raise CitError(DENIED, f"{who} is not in {self.name}", f"to let it in: cit allow USER@HOST {_quoted(key)}")
        entries = [entry for entry in entries if namespace in entry.namespaces]
        if not entries:
            hint = f"a line of {self.name} may add {namespace} to its namespaces="
            raise CitError(DENIED, f"{who} is listed, but not for the namespace {namespace!a}", hint)
        for entry in entries:
            if (not entry.valid_after or entry.valid_after <= now) and (not entry.valid_before or now <= entry.valid_before):
                return entry.principal
        last = entries[-1]
        where = f"{self.name}:{last.line}"
        if last.valid_after and now < last.valid_after:
            raise CitError(DENIED, f"{who} is not valid before {_utc(last.valid_after)}", f"valid-after= in {where} says so")
        assert last.valid_before
        raise CitError(DENIED, f"{who} is not valid after {_utc(last.valid_before)}", f"valid-before= in {where} says so")

    def is_revoked(self, key: PublicKey) -> bool:
        """Whether the key is in revoked_keys."""
        if self.krl and key.blob not in self.revoked:
            self.revoked[key.blob] = _in_krl(self.krl, key)
        return self.revoked.get(key.blob, False)


def _read(path: Path) -> bytes:
    return read_guarded(path, 0o022) or b""


def _text(data: bytes, path: Path) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise CitError(CONFIG, "the file is not UTF-8 text", "write names and keys in plain text, one a line", str(path)) from None


def parse_revoked_keys(text: str, name: str) -> list[PublicKey]:
    """One public key a line; a line that cannot be read is CitError 78, so that no revocation is passed over."""
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip() and not line.strip().startswith("#"):
            try:
                found.append(sshsig.parse_public_key(line))
            except CitError as why:
                raise CitError(CONFIG, why.what, "write one public key a line: KIND BASE64 COMMENT", f"{name}:{number}") from None
    return found


def _in_krl(krl: bytes, key: PublicKey) -> bool:
    """What `ssh-keygen -Q` says of the key; CitError 78 when it cannot say."""
    import subprocess
    import tempfile

    with tempfile.TemporaryDirectory() as directory:
        list_file, key_file = Path(directory, "krl"), Path(directory, "key.pub")
        list_file.write_bytes(krl)
        key_file.write_text(key._replace(comment="").line + "\n", "utf-8")
        try:
            run = subprocess.run(["ssh-keygen", "-Q", "-f", str(list_file), str(key_file)], check=False, capture_output=True, text=True)
        except FileNotFoundError:
            raise CitError(CONFIG, "ssh-keygen is needed to read a KRL and is not here", "install OpenSSH's client programs") from None
    if run.returncode == 0:
        return False
    if run.returncode == 1 and run.stdout.endswith("REVOKED\n"):
        return True
    raise CitError(CONFIG, f"the KRL cannot be read: {run.stderr.strip()}", "make it again with ssh-keygen -k, or list keys one a line")


def _quoted(key: PublicKey) -> str:
    return f"'{key._replace(comment='').line}'"


def _utc(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
