"""What a job needs of others: --need, as sections `needs` (docs/format/needs-keep.md, docs/howto/artefacts.md).

    --need JOB:FILE[=PATH]              a file that a job kept, or a name that it stashed, by the digest that its builder signed
    --need NAME[@KEY][=PATH]            what is stashed so in the store of this account
    --need SHA256[:BYTES][=PATH]        these bytes; how many has to be said where they are not in the store here

Reads: jobs, and where their files lie, by cit-report (show, where); store/ of this account. Writes nothing: the sections go into the job.
Fails: 2 what does not fit; 66 no such job, file or name.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from typing import NamedTuple

from .cit_format import body, document, globs, home, reader, store
from .cit_format.document import Document
from .cit_format.errors import NOT_FOUND, UNREACHABLE, USAGE, CitError

USE = "--need JOB:FILE[=PATH], --need NAME[=PATH], or --need SHA256:BYTES=PATH"


class Need(NamedTuple):
    """Bytes, the path where they are wanted, and the place where they may lie (empty: not known, or this account)."""

    sha256: str
    size: int
    path: str
    place: str = ""


# --- decisions ------------------------------------------------------------------------------------------------------


def artefacts(job: Document) -> dict[str, tuple[str, int]]:
    """What a job has left: by the name of a kept file, or what it stashed, the digest and bytes."""
    found = {}
    for section in job.all("artefact"):
        for row in (row for row in section.rows() if len(row) == 3 and row[1].isdigit()):
            name = row[2][len(store.PATH) :] if row[2].startswith(store.PATH) else row[2].removeprefix("work/").partition("/")[2]
            if name:
                found[name] = (row[0], int(row[1]))
    return found


def of_job(job: Document, wanted: str, path: str, place: str) -> list[Need]:
    """Of what a job has left, the files that a pattern means; several go below `path`. 66 where there is none."""
    left = artefacts(job)
    meant = [wanted] if wanted in left else sorted(name for name in left if globs.matches(name, wanted))
    if not meant:
        what = f"it has left no {wanted}" if left else "it has left no files"
        raise CitError(NOT_FOUND, what, "cit show lists what it left; cit push --keep, cit stash", job.label)
    if len(meant) == 1:
        return [Need(*left[meant[0]], path or store.parted(meant[0])[0], place)]
    return [Need(*left[name], f"{path}/{name}" if path else name, place) for name in meant]


def sections(items: Iterable[str]) -> list[bytes]:
    """The sections, one for each place. 2 where two things are wanted at one path."""
    found = [need for item in items for need in meant(item)]
    for path in {need.path for need in found}:
        several = {need.sha256 for need in found if need.path == path}
        if len(several) > 1:
            raise CitError(USAGE, f"--need: two things at {path}", "say where: --need WHAT=PATH")
    written = []
    for place in sorted({need.place for need in found}):
        rows = dict.fromkeys((need.sha256, str(need.size), need.path) for need in found if need.place == place)
        written.append(document.section("needs", "tsv", body.tsv(rows), **({"from": place} if place else {})))
    return written


# --- files ----------------------------------------------------------------------------------------------------------


def meant(item: str) -> list[Need]:
    """What one --need means."""
    what, _, path = item.partition("=")
    job, divided, wanted = what.partition(":")
    if (path and globs.parts_of(path) in (None, [])) or not what or (divided and not wanted):
        raise CitError(USAGE, f"--need {item[:120]!r}", USE)
    folder = str(home.path() / store.FOLDER)
    if store.SHA256.fullmatch(job):
        size = int(wanted) if wanted.isdigit() and len(wanted) < 19 else None if divided else store.size(folder, job)
        if size is None or not path:
            hint = "--need SHA256:BYTES=PATH" if path else "say where it is wanted: --need SHA256:BYTES=PATH"
            raise CitError(USAGE, f"--need {item[:120]!r}: how many bytes are they, and where are they wanted?", hint)
        return [Need(job, size, path, own_place() if store.size(folder, job) is not None else "")]
    if divided:
        return of_job(shown(job), wanted, path, place_of(job))
    name, key = store.parted(what)
    digest = store.meant(folder, name, key) if store.is_name(name) else ""
    if not digest:
        raise CitError(NOT_FOUND, f"nothing is stashed as {what[:100]}", f"cit stash --list tells what is; of a job's files: {USE}")
    return [Need(digest, store.size(folder, digest) or 0, path or name, own_place())]


def shown(job: str) -> Document:
    """A job's document, as cit show has it; of several tasks or attempts the last. 66, 69 as that says."""
    ended = subprocess.run(["cit-report", "show", "--raw", "--", job], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False)
    found = [each for each in reader.documents(reader.reader_of(ended.stdout)) if isinstance(each, Document)]
    if ended.returncode or not found:
        raise CitError(ended.returncode or NOT_FOUND, f"--need {job[:100]}: no such job can be shown", f"cit ls -a lists jobs; {USE}")
    return found[-1]


def place_of(job: str) -> str:
    """Where a job's files lie: the door of its builder; empty where that is this account, or nobody knows."""
    ended = subprocess.run(["cit-report", "where", "--tsv", "--", job], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if ended.returncode in (NOT_FOUND, UNREACHABLE):
        return ""
    rows = body.rows(ended.stdout)
    place = dict(zip(rows[0], rows[-1])).get("place", "") if len(rows) > 1 else ""
    if place == str(home.path().absolute()):
        return own_place()
    return "" if "," in place else place


def own_place() -> str:
    """Where builders elsewhere reach this account, if it says so: `address` of config.toml."""
    address = str(home.settings(home.path() / "config.toml").get("address", ""))
    return f"ssh://{address}" if address and "," not in address else ""
