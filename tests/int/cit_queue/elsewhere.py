"""Two homes: ada's laptop, and the machine `moon`, whose queue is known on the laptop by its door alone.

The door is a directory of this machine. `carrier` stands for cit-deliver where a test shuts, cuts or kills it.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from cit_format import body, home
from cit_format.document import Document
from tests.int.cit_queue.house import ROOT, House

CARRIER = """#!/bin/sh
# cit-deliver for doors that are directories; {faults} says what goes wrong: shut, silent, late, cut or lost (one word).
fault=$(cat {faults} 2>/dev/null)
echo "$fault $*" >>{faults}.log
[ "$fault" != shut ] || {{ echo "cit-deliver: error: moon: no route to host" >&2; exit 69; }}
[ "$fault" != silent ] || {{ sleep 2.2; echo "cit-deliver: error: moon: no answer within 10 s" >&2; exit 69; }}
[ "$fault" != late ] || sleep 30
case $* in
*--ask*)
  while [ "$1" != --ask ]; do shift; done
  shift 2
  exec env HOME={far} cit-queue -q --to {door} --door "$*"
  ;;
esac
cit-format unframe | env HOME={far} cit-queue -q --to {door} >{faults}.tickets
ended=$?
[ "$fault" != lost ] || exit 75
[ "$fault" != cut ] || {{ head -c 300 {faults}.tickets; exit 75; }}
cat {faults}.tickets
exit "$ended"
"""


class Elsewhere:
    """`near` pushes; `far` has the queue, as @moon of near's home."""

    def __init__(self, near: House, far: House) -> None:
        self.near = near
        self.far = far
        self.faults = near.directory / "fault"
        self.queue = self.known_as("moon", far)
        programs = near.directory / "bin"
        programs.mkdir()
        carrier = programs / "cit-deliver"
        carrier.write_text(CARRIER.format(faults=self.faults, far=far.directory, door=far.queue.path))
        carrier.chmod(0o755)
        near.environment["PATH"] = f"{programs}:{near.environment['PATH']}"

    def known_as(self, name: str, far: House) -> home.Queue:
        """Make another home's queue known here."""
        place = self.near.path / "queues" / name
        place.mkdir()
        said = {"name": "main", "founder": far.queue.fingerprint, "remote": True, "door": str(far.queue.path), "person": "ada@sun"}
        (place / "queue.toml").write_bytes(body.toml(said))
        return home.Queue(place)

    def fault(self, word: str = "") -> None:
        """What goes wrong at the door from now on; nothing without a word."""
        self.faults.write_text(word)

    def job(self, name: str = "hello", **changes: object) -> Document:
        """A job of ada's for the queue elsewhere."""
        return self.near.job(name, queue=self.queue.full_name, **changes)

    def run(self, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """A program of cit on the laptop."""
        command = [str(ROOT / "bin" / words[0]), *words[1:]]
        return subprocess.run(command, input=stdin, capture_output=True, cwd=self.near.directory, env=self.near.environment, timeout=60, check=False)

    def outbox(self, part: str = "") -> list[str]:
        """Names of the jobs in the outbox (or a part of it), those in claims included, in order."""
        box = self.near.path / "outbox" / part
        return [Path(path.name).stem.partition("-")[2].partition("-")[2] for path in sorted([*box.glob("*.cit"), *box.glob(".claim/*/*.cit")])]

    def there(self) -> list[str]:
        """Names of the jobs that wait in the queue, in order."""
        return [path.stem.partition("-")[2].partition("-")[2] for path in sorted((self.far.queue / "waiting").glob("*.cit"))]
