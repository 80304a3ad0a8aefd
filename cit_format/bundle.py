"""Bundles: cit and the Python packages that it needs, as one file for one Python on one kind of machine (docs/howto/add-a-builder.md).

    ~/.cache/cit/bundles/DIGEST.tar.gz      what is copied; DIGEST is the sha256 of the MANIFEST in it
    ~/.cache/cit/bundles/KEY                holds DIGEST: what was made of these inputs
    ~/.cache/cit/wheels/KEY/                packages for a Python that is not this one, by pip

Reads   facts of the far machine (there.py), the rooms and programs of this installation, its own packages or pip's
Fails   69 pip could not be asked, or has no such package; 78 a Python that is too old or none of ours
How     A bundle unpacked is a small checkout: bin/, cit_*/ and .venv, so that bin/.stage starts it like any other. Rich and Fabric stay
        here: nobody looks at a builder's terminal, and builders open connections by ssh(1). The archive is the same for the same content.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from .errors import CONFIG, UNREACHABLE, CitError
from .home import write_new

# What the stages import, and what that imports in turn: tests/ext/test_add.py holds it against what is declared.
PACKAGES = ("annotated-doc", "cffi", "cryptography>=42", "pyrage>=1.3", "shellingham", "tomlkit>=0.13", "typing-extensions")
TYPER = {True: ("typer>=0.26.8,<0.29",), False: ("typer>=0.23,<0.24", "click<9")}  # docs/decisions/typer.md: from 3.10 on, and for 3.9
LEFT_OUT = re.compile(r"^(cffi/|pycparser|.*\.pyi$|.*/tests?/|bin/|\.\.)")  # of cffi only its compiled part is ever loaded
ROOM = re.compile(r"cit_[a-z]+")
OLDEST = (3, 9)
FORMAT = "1"  # of a bundle: raise it when the same inputs make another one


class Target(NamedTuple):
    """What a bundle is for: Python (`cp311`), machine (`x86_64`), C library (`glibc`, `musl`) and its version."""

    tag: str
    machine: str
    libc: str
    version: tuple[int, int]

    @property
    def python(self) -> tuple[int, int]:
        return int(self.tag[2]), int(self.tag[3:].rstrip("t"))


class Bundle(NamedTuple):
    """A bundle that is there: its name by content, and its file."""

    digest: str
    path: Path


# --- decisions ------------------------------------------------------------------------------------------------------


def target(facts: Mapping[str, str]) -> Target:
    """What the facts of a machine ask for; 78 where no bundle would do."""
    tag, libc = facts.get("tag", ""), re.fullmatch(r"(glibc|musl) (\d+)\.(\d+).*", facts.get("libc", ""))
    if not re.fullmatch(r"cp3\d+t?", tag) or Target(tag, "", "", (0, 0)).python < OLDEST:
        raise CitError(CONFIG, f"Python {facts.get('version')} there will not do", "CPython from 3.9 on; --python names another one that is there")
    if libc is None or not re.fullmatch(r"[A-Za-z0-9_]+", facts.get("machine", "")):
        raise CitError(CONFIG, f"no packages are known for {facts.get('machine')} with {facts.get('libc')}", "glibc or musl is needed")
    return Target(tag, facts["machine"], libc[1], (int(libc[2]), int(libc[3])))


def requirements(wanted: Target) -> tuple[str, ...]:
    """The packages of a bundle, as pip writes them."""
    return (*PACKAGES, *TYPER[wanted.python >= (3, 10)])


def platforms(wanted: Target) -> list[str]:
    """The platform tags of wheels that run there, the newest first."""
    if wanted.libc == "musl":
        return [f"musllinux_1_{minor}_{wanted.machine}" for minor in range(wanted.version[1], 0, -1)]
    older = {17: "manylinux2014"}
    return [f"{name}_{wanted.machine}" for minor in range(wanted.version[1], 16, -1) for name in (f"manylinux_2_{minor}", older.get(minor)) if name]


def runs_on(tags: list[str], wanted: Target) -> bool:
    """Whether a package with these wheel tags, installed here, runs there too: it needs no newer C library."""
    fine = {"any", *platforms(wanted)}
    return any(set(tag.split("-")[2].split(".")) & fine for tag in tags)


# --- what is in it --------------------------------------------------------------------------------------------------


def programs() -> Iterator[tuple[str, Path]]:
    """Path in the bundle and file of rooms and programs, as they are installed here. A room's own cit_format is left out: it becomes a link."""
    rooms, starters = Path(__file__).resolve().parent.parent, _starters()
    for room in sorted(path for path in rooms.glob("cit_*") if ROOM.fullmatch(path.name) and (path / "__init__.py").exists()):
        for folder, folders, files in os.walk(room):
            folders[:] = sorted(name for name in folders if name not in ("__pycache__", "go") and (name != "cit_format" or folder != str(room)))
            yield from ((str(path.relative_to(rooms)), path) for path in (Path(folder, name) for name in sorted(files)) if path.suffix != ".pyc")
    yield from ((f"bin/{path.name}", path) for path in starters)


def _starters() -> list[Path]:
    """The shell programs, what they source, what starts the stages: in bin/ of a checkout, or where they were installed; else 78."""
    import shutil

    found = shutil.which("cit-add")
    folders = [Path(__file__).resolve().parent.parent / "bin", *([Path(os.path.realpath(found)).parent] if found else [])]
    folder = next((each for each in folders if (each / ".stage.py").exists()), None)
    if folder is None:
        raise CitError(CONFIG, f"no cit-add beside a .stage.py, on PATH or in {folders[0]}", "bundles are made where all of cit is installed")
    return [path for path in sorted(folder.iterdir()) if path.is_file() and not path.is_symlink() and _is_ours(path)]


def _is_ours(path: Path) -> bool:
    if path.name in ("cit-setup", "cit-demo") or not path.name.startswith(("cit", ".")):
        return False
    with open(path, "rb") as file:
        return path.name.startswith(".") or file.read(10) == b"#!/bin/sh\n"


def stage_links() -> dict[str, str]:
    """Links of a bundle: each room's cit_format, each stage's program."""
    stages = ("trigger", "queue", "schedule", "deliver", "run", "sync", "report", "format")
    rooms = {path.partition("/")[0] for path, _ in programs()} - {"bin", "cit_format"}
    return {**{f"{room}/cit_format": "../cit_format" for room in rooms}, **{f"bin/cit-{stage}": ".stage" for stage in stages}}


def installed(wanted: Target) -> list[tuple[str, Path]] | None:
    """Path and file of the packages that this program itself uses; None where one is missing, or does not run there."""
    from importlib import metadata

    if f"cp{sys.version_info[0]}{sys.version_info[1]}{'t' if 't' in sys.abiflags else ''}" != wanted.tag or os.uname().machine != wanted.machine:
        return None
    found = []
    for requirement in requirements(wanted):
        try:
            package = metadata.distribution(re.split("[<>=]", requirement)[0])
        except metadata.PackageNotFoundError:
            return None
        tags = re.findall(r"^Tag: (.*)$", package.read_text("WHEEL") or "", re.M)
        if not runs_on(tags, wanted) or package.files is None:
            return None
        found += [(str(file), Path(str(package.locate_file(file)))) for file in package.files]
    return found


def fetched(wanted: Target, cache: Path) -> list[tuple[str, Path]]:
    """The same for another Python, machine or C library: pip gets wheels for it, which are unpacked here and kept. 69 where it cannot."""
    key = _digest([FORMAT, *wanted[:3], str(wanted.version), *requirements(wanted)])
    folder = cache / "wheels" / key[:16]
    if not folder.is_dir():
        _by_pip(wanted, folder)
    return [(str(path.relative_to(folder)), path) for path in sorted(folder.rglob("*")) if path.is_file()]


def _by_pip(wanted: Target, folder: Path) -> None:
    import shutil
    import subprocess
    import tempfile
    import zipfile

    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as beside:
        wheels, whole = Path(beside, "wheels"), Path(beside, "whole")
        command = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-input", "--no-deps", "--only-binary=:all:"]
        command += ["--python-version", ".".join(map(str, wanted.python)), "--implementation", "cp", "-d", str(wheels)]
        command += [word for abi in (wanted.tag, "abi3", "none") for word in ("--abi", abi)]
        command += [word for platform in platforms(wanted) for word in ("--platform", platform)]
        asked = subprocess.run([*command, *requirements(wanted)], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if asked.returncode:
            why = [line for line in asked.stderr.splitlines() if line.startswith("ERROR") or "No module" in line]
            what = f"no packages for {wanted.tag} on {wanted.machine}: {why[-1] if why else f'pip ended with status {asked.returncode}'}"
            raise CitError(UNREACHABLE, what, "pip and its index are needed where the far Python is another than this one")
        whole.mkdir()
        for wheel in sorted(wheels.glob("*.whl")):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(whole)
        try:
            os.rename(whole, folder)
        except OSError:
            if not folder.is_dir():  # somebody else was quicker
                raise
        shutil.rmtree(wheels)


# --- making it ------------------------------------------------------------------------------------------------------


def made(wanted: Target, cache: Path) -> Bundle:
    """The bundle for a target, made unless it is there already."""
    own = list(programs())
    packages = installed(wanted)
    inputs = [f"{path} {file_digest(file)}" for path, file in own] + _stamps(packages or [])
    key = _digest([FORMAT, *wanted[:3], str(wanted.version), *requirements(wanted), *inputs])
    bundles = cache / "bundles"
    known = bundles / key[:16]
    if known.exists():
        found = Bundle(known.read_text().strip(), bundles / f"{known.read_text().strip()}.tar.gz")
        if found.path.exists():
            return found
    site = ".venv/lib/python{}.{}/site-packages".format(*wanted.python)
    if packages is None:
        packages = fetched(wanted, cache)
    kept = [(f"{site}/{path}", file) for path, file in packages if not LEFT_OUT.match(path) and "__pycache__" not in path]
    bundles.mkdir(parents=True, exist_ok=True)
    found = _archived([*own, *kept], stage_links(), bundles)
    write_new(known, found.digest.encode())
    return found


def _stamps(packages: list[tuple[str, Path]]) -> list[str]:
    """Which packages these are, without reading all of them: a wheel's RECORD has the digests."""
    return [f"{path} {file_digest(file)}" for path, file in packages if path.endswith(".dist-info/RECORD")]


def _archived(files: list[tuple[str, Path]], links: Mapping[str, str], folder: Path) -> Bundle:
    import gzip
    import io
    import tarfile

    contents = {path: (file.read_bytes(), os.access(file, os.X_OK)) for path, file in files}  # read once: a checkout may change meanwhile
    contents["LINKS"] = "".join(f"{path}\t{target}\n" for path, target in sorted(links.items())).encode(), False
    manifest = "".join(f"{_sha256(content)}  {path}\n" for path, (content, _) in sorted(contents.items())).encode()
    digest = _sha256(manifest)
    path = folder / f"{digest}.tar.gz"
    beside = folder / f".{digest}.{os.getpid()}"
    with open(beside, "wb") as raw, gzip.GzipFile("", "wb", 6, raw, 0) as packed, tarfile.open(fileobj=packed, mode="w|") as archive:
        for name, (content, runs) in sorted({**contents, "MANIFEST": (manifest, False)}.items()):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            member.mode = 0o755 if runs else 0o644
            archive.addfile(member, io.BytesIO(content))
    os.rename(beside, path)
    return Bundle(digest, path)


def cache_folder() -> Path:
    """`~/.cache/cit`, or below XDG_CACHE_HOME. What is in it may be removed at any time."""
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "cit"


def file_digest(path: Path) -> str:
    return _sha256(path.read_bytes())


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _digest(lines: list[str]) -> str:
    return _sha256("\n".join(lines).encode())
