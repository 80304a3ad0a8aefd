"""scp at the door: files of the store by their digest, read-only, to whom the verb `file` gives them (docs/howto/module-as-a-service.md).

    scp scp://build@moon/.cit/store/SHA256 zlib.age       what the client asks: the sftp server, or with -O `scp -f PATH`

Of a path only the last part counts: a sha256, also with `.age` behind it. There is no directory, nothing to list, nothing to write; whatever else
is asked is answered as if it were not there. Speaks version 3 of the SSH File Transfer Protocol (draft-ietf-secsh-filexfer-02), reading alone.
"""

from __future__ import annotations

import os
import stat
import struct
import sys
from collections.abc import Callable

from . import looks
from .cit_format import home
from .cit_format.errors import DATA, NO, OK, CitError
from .looks import SHA256, Sees

MOST = 256 << 10  # bytes of one packet
PIECE = 64 << 10  # bytes of one answer
OPEN_FILES = 64
INIT, VERSION, OPEN, CLOSE, READ, LSTAT, FSTAT, REALPATH, STAT = 1, 2, 3, 4, 5, 7, 8, 16, 17
STATUS, HANDLE, DATA_PACKET, NAME, ATTRS = 101, 102, 103, 104, 105
END, NOT_THERE, FAILURE, BAD, UNKNOWN = 1, 2, 4, 5, 8
READING = 1  # flag of OPEN; any other is about writing

Opener = Callable[[str], int]  # a path: a descriptor, or -1


# --- what is asked --------------------------------------------------------------------------------------------------


def is_asked(command: str) -> bool:
    """Whether a client wants files, and no verb of the door."""
    words = command.split()
    return bool(words) and (words[0] == "scp" or words[0] == "internal-sftp" or os.path.basename(words[0]) == "sftp-server")


def wanted(command: str) -> str:
    """The one path that `scp -f` asks for; 65 where it is none, or one is to be written."""
    words = command.split(" ")[1:]
    options = [word for word in words if word[:1] == "-" and word != "--"]
    paths = [word for word in words if word[:1] != "-"]
    letters = "".join(option[1:] for option in options)
    if len(paths) != 1 or "f" not in letters or set(letters) - set("fvpq"):
        raise CitError(DATA, "here scp reads one file at a time", "scp scp://USER@HOST[:PORT]/PATH FILE, with the URL as the job's artefacts have it")
    return paths[0]


def digest_of(path: str) -> str:
    """The digest that a path means; empty where it means none."""
    name = path.rpartition("/")[2].removesuffix(".age")
    return name if SHA256.fullmatch(name) else ""


def opener(account: home.Account, sees: Sees) -> Opener:
    """Opens a file of the store that the asker may have."""

    def opened(path: str) -> int:
        digest = digest_of(path)
        if not digest or (sees is not None and not any(looks.is_seen(each, sees) for each in looks.copies(account) if looks.has_kept(each, digest))):
            return -1
        try:
            fd = os.open(account / "store" / digest, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return -1
        if stat.S_ISREG(os.fstat(fd).st_mode):
            return fd
        os.close(fd)
        return -1

    return opened


# --- the old protocol -----------------------------------------------------------------------------------------------


def old(path: str, opened: Opener) -> int:
    """One file to `scp -O`."""
    out = sys.stdout.buffer
    _heard()
    fd = opened(path)
    if fd < 0:
        out.write(f"\x01scp: {os.path.basename(path)[:80]}: not here\n".encode("ascii", "replace"))
        out.flush()
        return NO
    with open(fd, "rb", buffering=0) as stream:
        left = os.fstat(fd).st_size
        out.write(f"C0600 {left} {os.path.basename(path)}\n".encode())
        out.flush()
        _heard()
        while left and (piece := stream.read(min(left, PIECE))):
            out.write(piece)
            left -= len(piece)
    out.write(b"\0")
    out.flush()
    _heard()
    return NO if left else OK


def _heard() -> None:
    if os.read(0, 1) != b"\0":
        raise CitError(DATA, "the other side is no scp", "scp -O USER@HOST:PATH FILE")


# --- sftp -----------------------------------------------------------------------------------------------------------


class Session:
    """One client: what it has open, and the answers to its packets. Pure but for the files."""

    def __init__(self, opened: Opener) -> None:
        self.opened = opened
        self.files: dict[bytes, int] = {}
        self.count = 0

    def answer(self, packet: bytes) -> bytes:
        """The answer to one packet, without its length."""
        kind = packet[0]
        if kind == INIT:
            return bytes([VERSION]) + struct.pack(">I", 3)
        number, rest = packet[1:5], packet[5:]
        try:
            act = {OPEN: self.open, CLOSE: self.close, READ: self.read, STAT: self.stat, LSTAT: self.stat, FSTAT: self.fstat, REALPATH: self.real}[
                kind
            ]
        except KeyError:
            return self.status(number, UNKNOWN)
        try:
            return act(number, rest)
        except (struct.error, IndexError, UnicodeDecodeError):
            return self.status(number, BAD)
        except OSError:
            return self.status(number, FAILURE)

    def open(self, number: bytes, rest: bytes) -> bytes:
        path, rest = taken(rest)
        [flags] = struct.unpack(">I", rest[:4])
        fd = self.opened(path.decode()) if flags == READING and len(self.files) < OPEN_FILES else -1
        if fd < 0:
            return self.status(number, NOT_THERE)
        self.count += 1
        handle = b"%d" % self.count
        self.files[handle] = fd
        return bytes([HANDLE]) + number + text(handle)

    def close(self, number: bytes, rest: bytes) -> bytes:
        fd = self.files.pop(taken(rest)[0], -1)
        if fd >= 0:
            os.close(fd)
        return self.status(number, OK if fd >= 0 else FAILURE)

    def read(self, number: bytes, rest: bytes) -> bytes:
        handle, rest = taken(rest)
        offset, length = struct.unpack(">QI", rest[:12])
        fd = self.files.get(handle, -1)
        if fd < 0 or offset >= 1 << 63:
            return self.status(number, FAILURE)
        piece = os.pread(fd, min(length, PIECE), offset)
        return bytes([DATA_PACKET]) + number + text(piece) if piece else self.status(number, END)

    def stat(self, number: bytes, rest: bytes) -> bytes:
        fd = self.opened(taken(rest)[0].decode())
        if fd < 0:
            return self.status(number, NOT_THERE)
        try:
            return bytes([ATTRS]) + number + attributes(fd)
        finally:
            os.close(fd)

    def fstat(self, number: bytes, rest: bytes) -> bytes:
        fd = self.files.get(taken(rest)[0], -1)
        return bytes([ATTRS]) + number + attributes(fd) if fd >= 0 else self.status(number, FAILURE)

    def real(self, number: bytes, rest: bytes) -> bytes:
        path = taken(rest)[0]
        plain = path if path.startswith(b"/") else b"/" + path.lstrip(b"./")
        return bytes([NAME]) + number + struct.pack(">I", 1) + text(plain) + text(plain) + struct.pack(">I", 0)

    def status(self, number: bytes, code: int) -> bytes:
        words = {OK: b"fine", END: b"end of file", NOT_THERE: b"not here", UNKNOWN: b"files can be read, and nothing else"}
        return bytes([STATUS]) + number + struct.pack(">I", code) + text(words.get(code, b"that is no request")) + text(b"")


def attributes(fd: int) -> bytes:
    """Size, permissions and times of an open file."""
    found = os.fstat(fd)
    moment = int(found.st_mtime) & 0xFFFFFFFF
    return struct.pack(">IQIII", 1 | 4 | 8, found.st_size, stat.S_IFREG | 0o600, moment, moment)


def text(words: bytes) -> bytes:
    return struct.pack(">I", len(words)) + words


def taken(rest: bytes) -> tuple[bytes, bytes]:
    """The string that comes next, and what follows it."""
    [length] = struct.unpack(">I", rest[:4])
    if length > len(rest) - 4:
        raise struct.error("a string that is longer than its packet")
    return rest[4 : 4 + length], rest[4 + length :]


def exactly(size: int) -> bytes:
    """So many bytes of stdin; fewer at its end."""
    got = b""
    while len(got) < size and (piece := os.read(0, size - len(got))):
        got += piece
    return got


def spoken(opened: Opener) -> int:
    """Answer packets until the client goes."""
    session, out = Session(opened), sys.stdout.buffer
    while len(head := exactly(4)) == 4:
        [size] = struct.unpack(">I", head)
        if not 5 <= size <= MOST:
            raise CitError(DATA, f"a packet of {size} bytes", "sftp, scp: another version may be there")
        packet = exactly(size)
        if len(packet) < size:
            break
        answer = session.answer(packet)
        out.write(struct.pack(">I", len(answer)) + answer)
        out.flush()
    return OK


def serve(command: str, account: home.Account, sees: Sees) -> int:
    """Answer a client that wants files."""
    opened = opener(account, sees)
    return old(wanted(command), opened) if command.split()[0] == "scp" else spoken(opened)
