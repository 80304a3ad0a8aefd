"""The kit of make-stages: jobs signed as they should be, or not, and cases that say what a queue must do with them.

An oracle of its own: it shares no code with cit; ssh-keygen signs. What is expected is said by the case, never by running a queue.
The keys in stages/keys, and the queue's in stages/queue/in, are for these vectors only; they open nothing.
"""

from __future__ import annotations

import base64
import hashlib
import subprocess
import tempfile
from os.path import normpath
from pathlib import Path

STAGES = Path(__file__).resolve().parent / "stages"
NOW = "2026-11-23T20:26:12Z"
NOW_US = 1_795_465_572_000_000
MINTED = "01m851cvn000000000000000m0"  # CIT_ID of every case
DAY = "2026-11-23"
HOME_QUEUE = "queues/lab"


def key_file(name: str) -> Path:
    return STAGES / ("queue/in/queues/lab/key" if name == "queue" else f"keys/{name}")


def public(name: str) -> str:
    """`KIND BASE64` of a key."""
    return " ".join(key_file(name).with_suffix(".pub").read_text().split()[:2])


def fingerprint(name: str) -> str:
    digest = hashlib.sha256(base64.b64decode(public(name).split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def sign(data: bytes, name: str, namespace: str) -> bytes:
    """The armour that ssh-keygen makes; ed25519 and RSA give the same one each time."""
    with tempfile.NamedTemporaryFile() as key:  # ssh-keygen wants a file that others cannot read
        key.write(key_file(name).read_bytes())
        key.flush()
        command = ["ssh-keygen", "-q", "-Y", "sign", "-f", key.name, "-n", namespace]
        return subprocess.run(command, input=data, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout


def section(what: str, body: str | bytes = "") -> bytes:
    """A section; the body as it stands in the file."""
    inner = body if isinstance(body, bytes) else body.encode()
    return b"@begin %s\n%s@end %s\n" % (what.encode(), inner, what.split()[0].encode())


def signature(before: bytes, by: str = "ada", ns: str = "cit-job", key: str = "", namespace: str = "", armour: bytes = b"") -> bytes:
    """A signature section over what stands before it, by that person's key for that namespace unless said otherwise."""
    armour = armour or sign(before, key or by, namespace or ns)
    who = by if "@" in by else f"{by}@sun"
    return section(f"signature 1 sshsig by={who} ns={ns}", armour)


ID = "01m851ctnr8f0v3q6s9y2c4e7g"
QUEUE = f"lab@{fingerprint('queue')}"
SCRIPT = section("script 1 sh", "#!/bin/sh -e\n./configure && make -j2 check\n")


def unsigned(number: int = 0, name: str = "hello", who: str = "ada", parts: bytes = SCRIPT, version: int = 1, **keys: str | None) -> bytes:
    """A job before its signature. `number` makes the ID; `keys` add, replace or (None) take away lines of the job section."""
    values: dict[str, str | None] = {
        "submitter": f'"{who}@sun"',
        "key": f'"{fingerprint(who)}"',
        "queue": f'"{QUEUE}"',
        "created": "2026-11-23T20:26:11Z",
        "expires": "2026-12-23T20:26:11Z",
    }
    values.update({key.replace("_", "-"): value for key, value in keys.items()})
    lines = "".join(f"{key} = {value}\n" for key, value in values.items() if value is not None)
    identity = ID[:-1] + "ghjkmnpq"[number]
    return f"@cit 1 {identity} {name}\n".encode() + section(f"job {version} toml", lines) + parts


def job(number: int = 0, name: str = "hello", who: str = "ada", parts: bytes = SCRIPT, version: int = 1, **keys: str | None) -> bytes:
    """A job as its submitter signs it."""
    text = unsigned(number, name, who, parts, version, **keys)
    return text + signature(text, who)


def control(target: str, who: str = "ada") -> bytes:
    """A signed wish: cancel the target."""
    lines = f'action = "cancel"\ntarget = "{target}"\nsubmitter = "{who}@sun"\nkey = "{fingerprint(who)}"\nqueue = "{QUEUE}"\n'
    lines += "created = 2026-11-23T20:26:11Z\nexpires = 2026-12-23T20:26:11Z\n"
    text = f"@cit 1 {ID[:-1]}z cancel\n".encode() + section("control 1 toml", lines)
    return text + signature(text, who, "cit-control")


def head(document: bytes) -> tuple[str, str]:
    """ID and NAME."""
    return tuple(document.split(b"\n", 1)[0].decode().split(" ")[2:4])  # type: ignore[return-value]


def framed(stream: bytes, documents: int, clock: str = NOW) -> bytes:
    return b"@cit-stream 1 %d %d %s %s\n" % (documents, len(stream), hashlib.sha256(stream).hexdigest().encode(), clock.encode()) + stream


def event(word: str, detail: str) -> bytes:
    return section("event 1 tsv", f"{NOW[:-1]}.000Z\tqueue\t{word}\tsun\tcit\t{detail}\n")


def signed_by_queue(document: bytes) -> bytes:
    """A job with the queue's part: `accepted` and its signature."""
    whole = document + event("accepted", "lab")
    return whole + signature(whole, "queue", "cit-queue")


def submitted(document: bytes) -> bytes:
    """The bytes through the first signature."""
    mark = b"\n@end signature\n"
    return document[: document.index(mark) + len(mark)]


def seen(document: bytes, key: str) -> dict[str, bytes]:
    """The link in seen/, as a file NAME.link that holds its target."""
    return {f"seen/{DAY}/{head(document)[0]}.link": f"{key}~{hashlib.sha256(submitted(document)).hexdigest()}".encode()}


def key_of(priority: int = 0, sequence: int = NOW_US) -> str:
    return f"{1000 - priority:04d}-{sequence:016d}"


class Case:
    """One case: what is there before, what comes in, and what is expected. Paths of `before` and `out` are in the queue's directory."""

    def __init__(self, name: str, about: str, status: int = 0, args: str = "--to @lab", **env: str) -> None:
        self.name, self.about, self.status, self.args, self.env = name, about, status, args, env
        self.stdin = self.stdout = b""
        self.says: list[str] = []
        self.before: dict[str, bytes] = {}
        self.out: dict[str, bytes] = {}
        self.log: list[str] = []
        self.sequence = NOW_US
        self.minted = 0

    # --- what is expected of a document ---------------------------------------------------------------------------

    def accepts(self, document: bytes, state: str = "waiting", priority: int = 0, sequence: int = 0) -> Case:
        """The document comes, is put into a state, seen, and answered."""
        identity, name = head(document)
        key = key_of(priority, sequence or self.sequence)
        self.sequence += 1
        self.out[f"{state}/{key}.{identity}-{name}.cit"] = signed_by_queue(document)
        self.out.update(seen(document, key))
        self.notes(identity, name, "accepted", "ada@sun")
        return self.comes(document).answers(document, identity, name, "accepted")

    def keeps(self, document: bytes, path: str) -> Case:
        """The document comes, lies there as it is, and is answered."""
        self.out[path] = document
        self.notes(*head(document), "accepted", "")
        return self.comes(document).answers(document, *head(document), "accepted")

    def duplicates(self, document: bytes) -> Case:
        """The document comes again and is answered; nothing changes."""
        return self.comes(document).answers(document, *head(document), "duplicate")

    def refuses(self, document: bytes, status: int, why: str, *says: str, kept: bool = True) -> Case:
        """A document that parses comes and lies in refused/ with why behind its bytes; stderr says each of `says` (a pattern a line)."""
        identity, name = head(document)
        if kept:
            self.out[f"refused/{identity}-{name}.cit"] = document + event("refused", f"{status} {why}")
        self.notes(identity, name, "refused", why)
        self.says += [f"{identity[-6:]}-{name}: .*error: ", *says]
        return self.comes(document).answers(document, identity, name, "refused", status, why).ends(status)

    def cannot_read(self, what: bytes, why: str, *says: str) -> Case:
        """What does not parse comes and lies in refused/ as the note of a new document."""
        identity = MINTED[:-1] + "0123456789"[self.minted]
        self.minted += 1
        text = base64.b64encode(what).decode()
        lines = "".join(text[at : at + 76] + "\n" for at in range(0, len(text), 76))
        note = section(f"note 1 text enc=base64 bytes={len(what)} sha256={hashlib.sha256(what).hexdigest()}", lines)
        self.out[f"refused/{identity}-refused.cit"] = f"@cit 1 {identity} refused\n".encode() + note + event("refused", f"65 {why}")
        self.notes(identity, "refused", "refused", why)
        self.says += ["error: ", *says]
        return self.comes(what).answers(what, identity, "refused", "refused", 65, why).ends(65)

    def sends(self, stream: bytes) -> Case:
        """What is on stdin, in the place of the documents as they are."""
        self.stdin = stream
        return self

    def comes(self, document: bytes) -> Case:
        self.stdin += document
        return self

    def answers(self, document: bytes, identity: str, name: str, state: str, status: int = 0, why: str = "") -> Case:
        received = hashlib.sha256(document).hexdigest()
        lines = f'state = "{state}"\nreceived = "sha256:{received}"\nbytes = {len(document)}\n'
        if status:
            lines += f'status = {status}\nwhy = "{why}"\n'
        self.stdout += f"@cit 1 {identity} {name}\n".encode() + section("ticket 1 toml", lines)
        return self

    def ends(self, status: int) -> Case:
        order = (77, 65, 0)
        self.status = min(self.status, status, key=order.index)
        return self

    def notes(self, identity: str, name: str, word: str, detail: str) -> None:
        self.log.append(f"{identity}-{name}\t{NOW[:-1]}.000Z\tqueue\t{word}\tsun\tcit\t{detail}\n")

    def with_(self, files: dict[str, bytes], after: bool = True, before: bool = True) -> Case:
        """What lies in the queue before, and afterwards."""
        if before:
            self.before.update(files)
        if after:
            self.out.update(files)
        return self

    # --- files ----------------------------------------------------------------------------------------------------

    def files(self) -> dict[str, bytes]:
        """Every file of the case by its path."""
        if self.log:
            self.out[f"log/{DAY}.tsv"] = "".join(self.log).encode()
        found = {
            "about": self.about.encode() + b"\n",
            "args": "".join(word + "\n" for word in self.args.split(" ")).encode(),
            "stdin": self.stdin,
            "status": b"%d\n" % self.status,
            "stdout": self.stdout,
            "stderr": "".join(line + "\n" for line in self.says).encode(),
        }
        if self.env:
            found["env"] = "".join(f"{name}={value}\n" for name, value in self.env.items()).encode()
        for place, content in (("in", self.before), ("out", self.out)):
            found.update({normpath(f"{place}/{HOME_QUEUE}/{path}"): data for path, data in content.items()})
        return found


# --- what lies in every queue before ---------------------------------------------------------------------------------


def queue_toml(active: str = "true", on_arrival: str = "") -> bytes:
    return (
        f'name = "lab"\nowner = "ada@sun"\nactive = {active}\nepoch = 1\nfounder = "{fingerprint("queue")}"\non-arrival = "{on_arrival}"\n'.encode()
    )


def allowed(name: str, namespaces: str, more: str = "") -> bytes:
    return f'{name}@sun namespaces="{namespaces}"{more} {public(name)} {name}\n'.encode()


def common() -> dict[str, bytes]:
    """What lies in every queue before: its settings and who may sign."""
    signers = b"# who may sign; ben may not\n"
    for name, spaces, more in [
        ("ada", "cit-job,cit-control", ""),
        ("carl", "cit-control", ""),
        ("dora", "cit-job", ""),
        ("eve", "cit-job", ',valid-before="20261123000000Z"'),
        ("fay", "cit-job", ',valid-after="20270101000000Z"'),
        ("gus", "cit-job", ',valid-after="20260101Z",valid-before="20261124000000Z"'),
        ("rob", "cit-job", ""),
        ("queue", "cit-queue", ""),
    ]:
        signers += allowed(name, spaces, more)
    revoked = f"# lost\n{public('dora')} dora\n".encode()
    return {"queue.toml": queue_toml(), "allowed_signers": signers, "revoked_keys": revoked}
