"""What is done on a machine that has python3 and sshd and nothing else: look, and unpack a bundle (docs/howto/add-a-builder.md).

    python3 -E -c 'import sys;exec(sys.stdin.buffer.read(SIZE))' look|unpack DIGEST|links DIGEST

Reads   this program from stdin (SIZE bytes), for `unpack` a bundle after it (bundle.py)
Writes  look: TSV, a fact a line. unpack: ~/.cit/lib/DIGEST, then the links ~/.cit/bin/*; what is cut or changed leaves nothing
Exits   0; 65 the bundle is not what DIGEST says; 78 this Python is too old
How     the standard library alone, in words that every Python 3 can read, so that an old one can say that it is too old.
        A bundle is complete when it has its name: it is unpacked beside it, compiled, synced, renamed.
"""

import hashlib
import os
import shutil
import sys
import tarfile

OLDEST = (3, 9)
HOME = os.path.join(os.path.expanduser("~"), ".cit")
LIB = os.path.join(HOME, "lib")


def libc() -> str:
    """`glibc 2.36`, `musl 1.2`, or `unknown`."""
    try:
        said = os.confstr("CS_GNU_LIBC_VERSION")
        if said:
            return said
    except (AttributeError, ValueError, OSError):
        pass
    with open("/proc/self/maps") as maps:
        return "musl 1.2" if "/ld-musl-" in maps.read() else "unknown"


def facts() -> list:  # type: ignore[type-arg] # list[...] is none to an old Python
    """What a bundle for this Python has to know, and what a person wants to know before."""
    place = HOME if os.path.isdir(HOME) else os.path.expanduser("~")
    disk = os.statvfs(place)
    version = "".join(str(part) for part in sys.version_info[:2]) + ("t" if "t" in sys.abiflags else "")
    had = sorted(name for name in (os.listdir(LIB) if os.path.isdir(LIB) else []) if len(name) == 64)
    return [
        ("python", os.path.realpath(sys.executable)),
        ("version", ".".join(str(part) for part in sys.version_info[:3])),
        ("tag", "cp" + version if sys.implementation.name == "cpython" else "none"),
        ("machine", os.uname().machine),
        ("libc", libc()),
        ("free", str(disk.f_bavail * disk.f_frsize >> 20)),
        ("home", os.path.expanduser("~")),
        ("crontab", shutil.which("crontab") or ""),
        ("bundles", " ".join(had)),
    ]


def unpack(digest: str) -> str:
    """Unpack the bundle that comes on stdin into lib/DIGEST; empty, or what is wrong with it."""
    final = os.path.join(LIB, digest)
    beside = os.path.join(LIB, "." + digest + "." + str(os.getpid()))
    os.makedirs(beside, 0o700)
    try:
        found = {}
        with tarfile.open(fileobj=sys.stdin.buffer, mode="r|gz") as archive:
            for member in archive:
                path = os.path.normpath(member.name)
                if not member.isreg() or path.startswith(("/", "..")):
                    return "it holds what no bundle holds: " + member.name
                found[path] = keep(archive.extractfile(member), os.path.join(beside, path), member.mode)
        wrong = objection(beside, found, digest)
        if wrong:
            return wrong
        finish(beside)
        os.sync()
        if not os.path.isdir(final):
            os.rename(beside, final)
        return ""
    except (tarfile.TarError, EOFError, OSError) as error:
        return "it did not arrive whole: " + str(error)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def keep(source, path: str, mode: int) -> str:  # type: ignore[no-untyped-def] # a stream of bytes
    """Write a file of the bundle; its sha256."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    digest = hashlib.sha256()
    with open(path, "xb") as file:
        for piece in iter(lambda: source.read(1 << 20), b""):
            digest.update(piece)
            file.write(piece)
    os.chmod(path, mode & 0o700)
    return digest.hexdigest()


def objection(root: str, found: dict, digest: str) -> str:  # type: ignore[type-arg]
    """Why the files that arrived (path: sha256) are not those of DIGEST, the sha256 of MANIFEST; empty where they are."""
    if found.pop("MANIFEST", "") != digest:
        return "its MANIFEST is another"
    wanted = {}
    with open(os.path.join(root, "MANIFEST")) as file:
        for line in file:
            sha256, path = line.rstrip("\n").split("  ", 1)
            wanted[path] = sha256
    differ = [path for path in sorted(set(wanted) | set(found)) if wanted.get(path) != found.get(path)]
    return "not as in its MANIFEST: " + differ[0] if differ else ""


def finish(root: str) -> None:
    """What is not in the archive: links, the virtual environment's two files, compiled modules (they are never changed, so nobody looks)."""
    import compileall
    import py_compile

    with open(os.path.join(root, "LINKS")) as file:
        for line in file:
            path, target = line.rstrip("\n").split("\t")
            os.symlink(target, os.path.join(root, path))
    python = os.path.realpath(sys.executable)
    os.makedirs(os.path.join(root, ".venv", "bin"))
    os.symlink(python, os.path.join(root, ".venv", "bin", "python"))
    with open(os.path.join(root, ".venv", "pyvenv.cfg"), "w") as file:
        file.write("home = " + os.path.dirname(python) + "\ninclude-system-site-packages = false\n")
    compileall.compile_dir(root, quiet=2, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)


def link(digest: str) -> None:
    """~/.cit/bin/* leads to this bundle from now on; bundles that nobody uses any more go, but for the last one."""
    programs = os.path.join(HOME, "bin")
    os.makedirs(programs, 0o700, exist_ok=True)
    os.chmod(programs, 0o700)
    named = sorted(name for name in os.listdir(os.path.join(LIB, digest, "bin")) if name.startswith("cit"))
    before = os.path.basename(os.path.dirname(os.path.dirname(os.path.realpath(os.path.join(programs, "cit")))))
    for name in named:
        beside = os.path.join(programs, "." + name + "." + str(os.getpid()))
        os.symlink(os.path.join("..", "lib", digest, "bin", name), beside)
        os.rename(beside, os.path.join(programs, name))
    for name in os.listdir(programs):
        path = os.path.join(programs, name)
        if name not in named and os.path.islink(path):
            os.unlink(path)
    used = {digest, before} | {name for name in os.listdir(LIB) if is_used(name)}
    for name in os.listdir(LIB):
        if name not in used:
            shutil.rmtree(os.path.join(LIB, name), ignore_errors=True)


def is_used(name: str) -> bool:
    """Whether a process of this account was started from a bundle, or is just unpacking it."""
    if name.startswith("."):
        return os.path.exists("/proc/" + name.rpartition(".")[2])
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/" + pid + "/cmdline", "rb") as file:
                if name.encode() in file.read():
                    return True
        except OSError:
            continue
    return False


def main(verb: str, digest: str = "") -> int:
    os.umask(0o077)
    if verb == "look":
        sys.stdout.write("".join(key + "\t" + value + "\n" for key, value in facts()))
    if sys.version_info < OLDEST:
        sys.stderr.write("error: " + sys.executable + " is Python " + sys.version.split()[0] + ", older than 3.9\n")
        return 78
    if verb == "unpack":
        wrong = unpack(digest)
        if wrong:
            sys.stderr.write("error: the bundle was not taken: " + wrong + "\n")
            return 65
    if verb in ("unpack", "links"):
        link(digest)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
