"""The far end of a shim: a bare Python process that owns a slot and runs one job after another (docs/stages/run.md).

Reads: orders on descriptor 3. Writes: a job's record (`status`, `pid`), its log, and each end back to descriptor 3.
It is a session leader and subreaper: whatever a job starts ends up below it and is killed when the job has ended. It
outlives cit-run: then it finishes its job, notes the end in the record and goes. Signals: TERM cancels the job, USR1
pauses it, USR2 lets it go on.
How: started as `python3 -I -S`, and imports next to nothing, so that a sleeping job costs little memory. A job is
started through setsid(1), whose memory is small: a process begins with its parent's largest memory as its own.
"""

from __future__ import annotations

import fcntl
import marshal
import os
import time

from . import processes
from .processes import Figures
from .removal import removed
from .status import ended_line, line, note
from .watching import SOCKET, Job, Watch, asked, listen

LATER = 75  # of a step before the program: what it needs is not there yet
FORMAT, PLAIN, FOLDER = 0o170000, 0o100000, 0o040000  # of a file's mode: what it is; a plain file, a directory
MOST = 64 << 20  # bytes of a file of a record
AFTERWARDS = ("artefacts", "sealed")  # what is written when the job has ended
LARGE = 4 << 20  # bytes of a log from which on the steps after a job are worth a process


# --- the loop -------------------------------------------------------------------------------------------------------


def serve() -> None:
    """Run orders until the socket is closed."""
    os.set_inheritable(SOCKET, False)  # no job may speak for us
    listen()
    while True:
        order = received()
        if order is None:
            return
        asked.clear()
        end, clean = attended(Job(order))
        heard = said(end)
        if not clean or not heard:
            return


def received() -> dict[str, object] | None:
    """The next order: its length in 8 digits, then the marshalled dict; None at the end."""
    head = exactly(8)
    order: dict[str, object] | None = marshal.loads(exactly(int(head))) if head else None
    return order


def exactly(size: int) -> bytes:
    """So many bytes from the socket; none at its end."""
    got = b""
    while len(got) < size:
        try:
            piece = os.read(SOCKET, size - len(got))
        except ConnectionError:
            return b""
        if not piece:
            return b""
        got += piece
    return got


def said(end: str) -> bool:
    """Tell an end; whether cit-run was there to hear it."""
    try:
        os.write(SOCKET, end.encode())
        return True
    except OSError:
        return False


# --- one job --------------------------------------------------------------------------------------------------------


def attended(job: Job) -> tuple[str, bool]:
    """Run a job unless its record says that it was begun: the line of its end, and whether nothing of it is left."""
    try:
        status = os.open(f"{job.record}/status", os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        return line("unready", why=error.strerror), True
    try:
        fcntl.flock(status, fcntl.LOCK_EX)
        before = os.pread(status, 1 << 16, 0).decode()
        if before:  # another shim was quicker: its word counts
            return ended_line(before) or line("ended", why="lost"), True
        try:
            note(status, line("started", shim=os.getpid(), cores=",".join(map(str, job.cores))))
        except OSError as error:
            return line("unready", why=error.strerror), True
        end, clean = run(job, status)
        while True:
            try:
                note(status, end)
                restored(status, f"{job.record}/status")
                return end, clean
            except OSError:  # a full disk must not cost the end: cit-run hears it, or we wait for room
                if said(end):
                    return "", clean
                time.sleep(1)
    finally:
        os.close(status)


def restored(status: int, path: str) -> None:
    """Have a job's `status` where it belongs, if the job has removed it."""
    mine = os.fstat(status)
    try:
        there = os.lstat(path)
        if (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino):
            return
    except OSError:
        pass  # it is gone
    removed(path)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    os.write(file, os.pread(status, 1 << 16, 0))
    os.close(file)


def run(job: Job, status: int) -> tuple[str, bool]:
    """All steps of a job, then nothing of it is left: the line of its end."""
    os.umask(job.mask)
    for path in job.remove:
        removed(path)
    watch = Watch(job, status)
    started = time.monotonic()
    exit_status, number = 0, 0
    figures: Figures = []
    for step in job.before:
        exit_status, number, _ = watch.step(step, job.workspace)
        if exit_status or number or watch.why:
            watch.why = watch.why or ("check" if exit_status == LATER else "before")
            break
    if not watch.why and job.check:
        made(job.directory)
        exit_status, number = watch.ask()
    if not watch.why:
        watch.begin()
        made(job.directory)
        started = time.monotonic()
        exit_status, number, figures = watch.step(job.program, job.directory, note_pid=True)
    wall = int((time.monotonic() - started) * 1000)
    if exit_status or number:
        watch.doubted()
    watch.confined.kill()
    clean = processes.buried()
    watch.flood.look(time.monotonic(), True)
    watch.times.close()
    tidied(job)
    short = watch.confined.close(exit_status or number)
    watch.why = watch.why or short
    ended = line("ended", exit=exit_status, signal=number, why=watch.why, wall_ms=wall, **dict(figures), **watch.over())
    if job.conceal and any(map(size_of, (job.log, f"{job.record}/events", f"{job.record}/parts.tsv"))):
        watch.bounded = False
        watch.step(job.conceal, "/")
    for path in job.private:
        removed(path)
    if job.after and (job.always or size_of(job.log) > LARGE):
        watch.bounded = False
        for step in job.after:
            watch.step(step, "/")
        clean = processes.buried() and clean
    return ended, clean


def tidied(job: Job) -> None:
    """In the record, and in place of the log, are plain files alone when nothing of the job is left: what else it has put there keeps nobody
    waiting who reads it. What only the steps after it write is nothing that it can have written."""
    if os.path.islink(job.record) or not os.path.isdir(job.record):
        removed(job.record)
        made(job.record)
    for name in names(job.record):
        path = f"{job.record}/{name}"
        if path not in job.private and (name in AFTERWARDS or not is_plain(path)):
            removed(path)
    if not is_plain(job.log) or os.path.isdir(job.log):
        removed(job.log)


def names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def is_plain(path: str) -> bool:
    """Whether it is a directory, or a plain file of a size that somebody may read: nothing that waits for a writer, or leads elsewhere."""
    try:
        about = os.lstat(path)
    except OSError:
        return False
    kind = about.st_mode & FORMAT
    return kind == FOLDER or kind == PLAIN and (about.st_size <= MOST or path.endswith(".log"))


def made(directory: str) -> None:
    """See to it that the directory is there in which the program starts; where it cannot be, the start says so."""
    try:
        os.makedirs(directory, exist_ok=True)
    except OSError:
        return


def size_of(path: str) -> int:
    """Bytes of a file; 0 where it is missing."""
    try:
        return os.stat(path).st_size
    except OSError:
        return 0
