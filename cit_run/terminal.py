"""The terminal of a job that asks for one (`tty`): a process between the shim and the job's program (docs/howto/watch-it-run.md).

Arguments: RECORD LOG COLUMNSxROWS PRIVATE PROGRAM... (PRIVATE: the directory of its secrets, or empty). Writes: what the terminal shows, to stdout,
which is the log; with times and without secrets, to work/COPY-NAME.cast (asciicast v2). Listens on `tty` in the record:
who connects says `watch` or `keys` on a line, is shown what is there and what comes, and with `keys` types into it.
Exits: as the program does, also by its signal; 126, 127 where it cannot be started. TERM, HUP, INT and QUIT go to its group and to the one in the
foreground. A watcher who does not read misses what he is too late for: nobody holds the job up.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import fcntl
import os
import select
import signal
import socket
import sys
import termios
import time
from json.encoder import encode_basestring_ascii as quoted

from .cit_format import masks

SOCKET = "tty"  # in the record
SUFFIX = ".cast"
HISTORY = 1 << 18  # bytes of what was shown last that a watcher gets first
MOST = 32  # watchers at a time
BEHIND = 1 << 20  # bytes that a watcher may be behind
RECORDED = 64 << 20  # bytes of a recording
PIECE = 1 << 16
PATIENCE = 1.0  # seconds for watchers to take what was shown last
DRAIN = 0.2  # seconds for what a program that has ended left in its terminal
FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)
CLEARS = (b"\x1b[2J", b"\x1bc", b"\x1b[?1049h")  # after these nothing before is seen any more


# --- decisions ------------------------------------------------------------------------------------------------------


def size(text: str) -> tuple[int, int]:
    """Columns and rows of `80x24`."""
    columns, _, rows = text.partition("x")
    return int(columns), int(rows)


def header(columns: int, rows: int, now: float, term: str) -> str:
    """The first line of a recording."""
    return f'{{"version": 2, "width": {columns}, "height": {rows}, "timestamp": {int(now)}, "env": {{"TERM": {quoted(term)}}}}}\n'


def event(since: float, text: str) -> str:
    """A line of it: so many seconds after its begin this was shown."""
    return f'[{since:.6f}, "o", {quoted(text)}]\n'


def recent(shown: bytes) -> bytes:
    """What of the last output a new watcher needs: from where the screen was cleared last."""
    return shown[max(0, *(shown.rfind(clear) for clear in CLEARS)) :]


# --- what is written ------------------------------------------------------------------------------------------------


class Recording:
    """A file that plays a terminal again; what cannot be written any more is not, and says so."""

    def __init__(self, path: str, columns: int, rows: int, term: str) -> None:
        self.began = time.monotonic()
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.left = RECORDED
        self.fd = -1
        try:
            self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError:
            return
        self.line(header(columns, rows, time.time(), term))

    def show(self, piece: bytes, last: bool = False) -> None:
        text = self.decoder.decode(piece, last)
        if text:
            self.line(event(time.monotonic() - self.began, text))

    def line(self, text: str) -> None:
        raw = text.encode()
        if self.fd < 0:
            return
        if len(raw) > self.left:
            raw, self.left = event(time.monotonic() - self.began, "\r\ncit-run: no more of it is recorded\r\n").encode(), 0
        try:
            written(self.fd, raw)
        except OSError:
            self.left = 0
        self.left -= len(raw)
        if self.left <= 0:
            os.close(self.fd)
            self.fd = -1


def written(fd: int, raw: bytes) -> None:
    while raw:
        raw = raw[os.write(fd, raw) :]


class Watcher:
    """Somebody who is connected; `wish` is empty until they have said `watch` or `keys`."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self.socket = connection
        self.wish = b""
        self.heard = b""
        self.unsent = b""


# --- the loop -------------------------------------------------------------------------------------------------------


class Terminal:
    """The master's end of a pty, whoever watches it, and the program in it."""

    def __init__(self, record: str, log: str, columns: int, rows: int, private: str) -> None:
        self.master, self.slave = os.openpty()
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, b"".join(number.to_bytes(2, sys.byteorder) for number in (rows, columns, 0, 0)))
        self.name = os.ttyname(self.slave)
        os.set_blocking(self.master, False)
        sought = masks.values(masks.contents(private).values()) if private else []
        self.mask = masks.Mask(sought)
        self.recording = Recording(f"{log[: -len('.log')]}{SUFFIX}", columns, rows, os.environ.get("TERM", ""))
        self.shown = b""
        self.watchers: list[Watcher] = []
        self.listener = listening(record)
        self.typed = b""
        self.logs = True

    def came(self, piece: bytes) -> None:
        """The program has shown something."""
        try:
            if self.logs:
                written(1, piece)
        except OSError:
            self.logs = False  # a full disk does not change what is done
        self.show(self.mask(piece))

    def show(self, shown: bytes) -> None:
        self.recording.show(shown)
        self.shown = (self.shown + shown)[-HISTORY:]
        for watcher in self.watchers:
            if watcher.wish:
                watcher.unsent += shown
                if len(watcher.unsent) > BEHIND:  # whatever was begun is cut off (CAN), then the last of it
                    watcher.unsent = b"\x18\x1b[0m" + recent(self.shown)

    def attend(self, watcher: Watcher) -> None:
        """Hear what a watcher says."""
        try:
            heard = watcher.socket.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            heard = b""
        if not heard:
            self.dismiss(watcher)
        elif watcher.wish == b"keys":
            self.typed = (self.typed + heard)[:PIECE]
        elif not watcher.wish:
            wish, newline, rest = (watcher.heard + heard).partition(b"\n")
            watcher.heard = wish[:64]
            if newline:
                watcher.wish = b"keys" if wish == b"keys" else b"watch"
                watcher.unsent = recent(self.shown)
                self.typed += rest if watcher.wish == b"keys" else b""

    def send(self, watcher: Watcher) -> None:
        """Show a watcher what it has not seen, as much as it takes."""
        try:
            watcher.unsent = watcher.unsent[watcher.socket.send(watcher.unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            self.dismiss(watcher)
            return

    def dismiss(self, watcher: Watcher) -> None:
        if watcher in self.watchers:
            self.watchers.remove(watcher)
            watcher.socket.close()

    def read(self) -> bool:
        """What the program has shown since; False where nobody has the terminal any more."""
        try:
            piece = os.read(self.master, PIECE)
        except BlockingIOError:
            return True
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return False
        if piece:
            self.came(piece)
        return bool(piece)

    def turn(self, beat: int, timeout: float | None) -> bool:
        """One wait for whatever comes; whether the terminal is still there."""
        readers: list[socket.socket | int] = [
            self.master,
            beat,
            *([self.listener] if self.listener else []),
            *(watcher.socket for watcher in self.watchers),
        ]
        writers: list[socket.socket | int] = [watcher.socket for watcher in self.watchers if watcher.unsent]
        found, free, _ = select.select(readers, [*writers, *([self.master] if self.typed else [])], [], timeout)
        if beat in found:
            os.read(beat, 4096)
        if self.listener in found:
            self.accept()
        for watcher in list(self.watchers):
            if watcher.socket in found:
                self.attend(watcher)
            if watcher.socket in free and watcher in self.watchers:
                self.send(watcher)
        if self.master in free and self.typed:
            try:
                self.typed = self.typed[os.write(self.master, self.typed) :]
            except OSError:
                self.typed = b""
        return self.read() if self.master in found else True

    def over(self, record: str) -> None:
        """The last of it: to the recording, and to whoever watches, as far as they take it now."""
        until = time.monotonic() + DRAIN
        while time.monotonic() < until and select.select([self.master], [], [], 0)[0] and self.read():
            pass
        self.show(self.mask(b"", last=True))
        self.recording.show(b"", last=True)
        self.latecomers()
        until = time.monotonic() + PATIENCE
        while self.watchers and time.monotonic() < until:
            for watcher in [each for each in self.watchers if not each.unsent]:
                self.dismiss(watcher)
            _, free, _ = select.select([], [watcher.socket for watcher in self.watchers], [], PATIENCE)
            for watcher in [each for each in self.watchers if each.socket in free]:
                self.send(watcher)
        if self.listener:
            with contextlib.suppress(OSError):  # a job may have removed it
                os.unlink(f"{record}/{SOCKET}")

    def accept(self) -> bool:
        """Let somebody in who has connected; whether there was anybody."""
        try:
            connection = self.listener.accept()[0] if self.listener else None
        except OSError:
            return False
        if connection is not None and len(self.watchers) < MOST:
            self.watchers.append(Watcher(connection))
        return connection is not None

    def latecomers(self) -> None:
        """Who has connected and was not heard yet."""
        while self.accept():
            pass
        for watcher in [each for each in self.watchers if not each.wish]:
            if select.select([watcher.socket], [], [], DRAIN)[0]:
                self.attend(watcher)


def listening(record: str) -> socket.socket | None:
    """The socket in the record; None where there can be none: the job runs all the same. A path of any length: it is bound from within."""
    here = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    before = os.umask(0o177)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        os.chdir(record)
        if os.path.lexists(SOCKET):
            os.unlink(SOCKET)
        made.bind(SOCKET)
        made.listen(8)
        made.setblocking(False)
        return made
    except OSError:
        made.close()
        return None
    finally:
        os.umask(before)
        os.fchdir(here)
        os.close(here)


def started(argv: list[str], terminal: str) -> int:
    """Start the program as leader of a session whose terminal this is: it opens it first; its pid."""
    actions = [(os.POSIX_SPAWN_OPEN, 0, terminal, os.O_RDWR, 0), (os.POSIX_SPAWN_DUP2, 0, 1), (os.POSIX_SPAWN_DUP2, 0, 2)]
    everything = [number for number in range(1, 32) if number not in (signal.SIGKILL, signal.SIGSTOP)]
    return os.posix_spawn(argv[0], argv, os.environ, file_actions=actions, setsid=True, setsigdef=everything, setsigmask=[])


def forwarded(number: int, pid: int, master: int) -> None:
    """Send a signal to the program's group, and to the one in the foreground of its terminal."""
    groups = {pid}
    with contextlib.suppress(OSError):
        groups.add(os.tcgetpgrp(master))
    for group in groups:
        with contextlib.suppress(OSError):  # it has just ended
            os.killpg(group, number)


def attended(terminal: Terminal, pid: int, beat: int, came: list[int]) -> int:
    """Until the program has ended: its code, as wait tells it."""
    is_open = True
    while True:
        ended, code = os.waitpid(pid, os.WNOHANG)
        if ended:
            return code
        while came:
            forwarded(came.pop(0), pid, terminal.master)
        if is_open:
            is_open = terminal.turn(beat, None)
        elif select.select([beat], [], [], 0.1)[0]:  # it has closed its terminal, and runs on
            os.read(beat, 4096)


def main() -> None:
    """In place of the job's program."""
    record, log, shape, private, *program = sys.argv[1:]
    beat, writing = os.pipe()
    for fd in (beat, writing):
        os.set_blocking(fd, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    came: list[int] = []
    for number in FORWARDED:
        signal.signal(number, lambda number, _: came.append(number))
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    terminal = Terminal(record, log, *size(shape), private)
    try:
        pid = started(program, terminal.name)
    except OSError as error:
        terminal.came(f"cit-run: cannot start {program[0]}: {error.strerror}\r\n".encode())
        terminal.over(record)
        sys.exit(127 if error.errno in (errno.ENOENT, errno.ENOTDIR) else 126)
    os.close(terminal.slave)
    code = attended(terminal, pid, beat, came)
    terminal.over(record)
    if os.WIFSIGNALED(code):
        ending = os.WTERMSIG(code)
        if ending not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(ending, signal.SIG_DFL)
        os.kill(os.getpid(), ending)
    sys.exit(os.WEXITSTATUS(code))
