"""A wire that breaks where it is told: a TCP relay that ends each connection after so many bytes, each way counted alone.

    with Cutter(lan, lan["moon"]) as wire:         # at wire.address, wire.port; in front of moon's sshd
        wire.cut(after=4000, way="in")             # connections from now on: 4,000 bytes reach moon, then nothing works any more
        wire.stall(after=4000, way="out")          # the same for what moon says, but nobody is told: silence
        wire.heal()

Run as a program it is the relay: `cutter.py PORT HOST PORT`, orders on stdin. It runs beside the switch of the test network.
"""

from __future__ import annotations

import contextlib
import itertools
import select
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.cluster.lan import Lan, Node

NEVER = 1 << 60
PORTS = itertools.count(2201)


class Cutter:
    """The relay, seen from the test; `passed` are the bytes that each connection so far let through, in and out."""

    def __init__(self, lan: Lan, node: Node) -> None:
        self.address, self.port, self.lan, self.node = "10.77.0.254", next(PORTS), lan, node
        inside = ["nsenter", "-t", str(lan.pid), "--net", "--"]
        words = [*inside, sys.executable, str(Path(__file__).resolve()), str(self.port), node.address, str(node.port)]
        self.relay = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.order("heal", NEVER, "in")

    def order(self, what: str, after: int, way: str) -> list[list[int]]:
        """Tells the relay, which answers with what passed on each connection before."""
        assert self.relay.stdin and self.relay.stdout
        self.relay.stdin.write(f"{what} {after} {way}\n".encode())
        self.relay.stdin.flush()
        return [[int(number) for number in pair.split("/")] for pair in self.relay.stdout.readline().decode().split()]

    def cut(self, after: int, way: str) -> list[list[int]]:
        return self.order("cut", after, way)

    def stall(self, after: int, way: str) -> list[list[int]]:
        return self.order("stall", after, way)

    def heal(self) -> list[list[int]]:
        """Ends what still hangs; connections from now on are whole."""
        return self.order("heal", NEVER, "in")

    def place(self, user: str) -> str:
        return f"ssh://{user}@{self.address}:{self.port}"

    def known(self) -> str:
        return f"[{self.address}]:{self.port} {self.node.host_key()}\n"

    def __enter__(self) -> Cutter:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.relay.stdin and self.relay.stdout
        self.relay.stdin.close()
        self.relay.wait()
        self.relay.stdout.close()


# --- the relay ------------------------------------------------------------------------------------------------------


class Rule:
    """What becomes of connections that are made under it."""

    def __init__(self, what: str, after: int, way: str) -> None:
        self.stalls, self.after = what == "stall", {"in": after if way == "in" else NEVER, "out": after if way == "out" else NEVER}
        self.passed: list[dict[str, int]] = []
        self.over = threading.Event()


def relay(client: socket.socket, target: tuple[str, int], rule: Rule) -> None:
    """One connection, until either end closes it, the rule breaks it, or the rule is over."""
    passed = {"in": 0, "out": 0}
    rule.passed.append(passed)
    with client, socket.create_connection(target) as server:
        ways = {client: (server, "in"), server: (client, "out")}
        while not rule.over.is_set():
            for ready in select.select(list(ways), [], [], 0.2)[0]:
                to, way = ways[ready]
                left = rule.after[way] - passed[way]
                data = ready.recv(max(1, min(1 << 16, left)))
                if not data:
                    return
                if left > 0:
                    to.sendall(data)
                    passed[way] += len(data)
                elif rule.stalls:
                    rule.over.wait()
                else:
                    for end in (client, server):  # closed without a word of farewell
                        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    return


def main(port: int, host: str, to: int) -> None:
    rule = Rule("heal", NEVER, "in")
    with socket.create_server(("", port), backlog=100) as listening:

        def serve() -> None:
            while True:
                client = listening.accept()[0]

                def run(client: socket.socket = client, under: Rule = rule) -> None:
                    with contextlib.suppress(OSError):
                        relay(client, (host, to), under)

                threading.Thread(target=run, daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        for line in sys.stdin:
            what, after, way = line.split()
            before, rule = rule, Rule(what, int(after), way)
            before.over.set()
            print(*(f"{each['in']}/{each['out']}" for each in before.passed), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
