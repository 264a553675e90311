"""Networks that can be cut: the kernel's own firewall, in a namespace of the arena's own.

Packets on loopback do not tell who has sent them. So where nodes are to be told apart, each calls
etcd by a loopback address of its own; and a member of etcd that is to be cut off from its peers
lives in a second namespace, at the far end of a wire.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from pathlib import Path

from tests.support.etcd import EtcdCluster, EtcdMember, Place
from tests.support.own_network import own_network

EVERYWHERE = "0.0.0.0"
NEAR, FAR = "10.77.0.1", "10.77.0.2"
NEAR_WIRE, FAR_WIRE = "near", "far"
LIMIT_SECONDS = 10.0


class Network(Enum):
    """`BY_NODE`: a firewall can tell nodes apart. `FAR_MEMBER`: etcd's first member is at the far
    end of a wire. Only root may have either."""

    SHARED = "shared"
    BY_NODE = "by node"
    FAR_MEMBER = "far member"

    @contextmanager
    def entered(self) -> Iterator[Sequence[Place]]:
        """What this thread starts meanwhile is in there; the places of etcd's members."""
        if self is Network.SHARED:
            yield ()
            return
        with own_network():
            if self is Network.BY_NODE:
                yield (Place(listen=EVERYWHERE),)
                return
            with _far_end() as enter:
                near = Place(NEAR, EVERYWHERE)
                yield (Place(FAR, EVERYWHERE, enter), near, near)

    def endpoints_for(self, node: str, etcd: EtcdCluster) -> list[str]:
        """How that node calls etcd's members."""
        if self is not Network.BY_NODE:
            return list(etcd.endpoints)
        return [f"http://{address_of(node)}:{member.client_port}" for member in etcd.members]


def address_of(node: str) -> str:
    """At which it calls etcd: of n2, 127.0.1.2."""
    return f"127.0.1.{int(node[1:])}"


class Firewall:
    """Of the namespace in which this thread is."""

    def __init__(self, etcd: EtcdCluster) -> None:
        self._etcd = etcd
        self._rules: list[tuple[str, ...]] = []

    def drop_requests(self, node: str) -> None:
        """Nothing from that node reaches etcd any more; what etcd sends still arrives."""
        for member in self._etcd.members:
            self._drop("-d", address_of(node), "-p", "tcp", "--dport", str(member.client_port))

    def drop_replies(self, node: str) -> None:
        """Nothing from etcd reaches that node any more; what it sends still arrives."""
        for member in self._etcd.members:
            self._drop("-s", address_of(node), "-p", "tcp", "--sport", str(member.client_port))

    def drop_port(self, port: int) -> None:
        """Nobody reaches the server at that port, nor does it reach those who have called."""
        self._drop("-p", "tcp", "--dport", str(port))
        self._drop("-p", "tcp", "--sport", str(port))

    def isolate(self, far: EtcdMember) -> None:
        """From its peers, both ways; its clients still reach it."""
        for member in self._etcd.members:
            port = str(member.peer_port)
            chain, wire = ("OUTPUT", "-o") if member is far else ("INPUT", "-i")
            back, wire_back = ("INPUT", "-i") if member is far else ("OUTPUT", "-o")
            self._drop(wire, NEAR_WIRE, "-p", "tcp", "--dport", port, chain=chain)
            self._drop(wire_back, NEAR_WIRE, "-p", "tcp", "--sport", port, chain=back)

    def open(self) -> None:
        """Everything gets through again."""
        while self._rules:
            _run("iptables", "-w", "-D", *self._rules.pop())

    def _drop(self, *match: str, chain: str = "INPUT") -> None:
        rule = (chain, *match, "-j", "DROP")
        _run("iptables", "-w", "-A", *rule)
        self._rules.append(rule)


@contextmanager
def _far_end() -> Iterator[tuple[str, ...]]:
    """A second namespace, wired to this one; the command that enters it."""
    keeper = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
    try:
        enter = ("nsenter", f"--net=/proc/{keeper.pid}/ns/net")
        _wait_until_moved(keeper.pid)
        wire = ("ip", "link", "add", NEAR_WIRE, "type", "veth", "peer", "name", FAR_WIRE)
        _run(*wire, "netns", str(keeper.pid))
        _run("ip", "address", "add", f"{NEAR}/24", "dev", NEAR_WIRE)
        _run("ip", "link", "set", NEAR_WIRE, "up")
        _run(*enter, "ip", "address", "add", f"{FAR}/24", "dev", FAR_WIRE)
        for name in ("lo", FAR_WIRE):
            _run(*enter, "ip", "link", "set", name, "up")
        yield enter
    finally:
        keeper.kill()
        keeper.wait()


def _wait_until_moved(pid: int) -> None:
    """Into its own namespace: until then it is still in ours."""
    deadline = time.monotonic() + LIMIT_SECONDS
    ours = _namespace("thread-self")
    while _namespace(str(pid)) == ours:
        assert time.monotonic() < deadline, "unshare does not start"
        time.sleep(0.01)


def _namespace(process: str) -> str:
    return str(Path(f"/proc/{process}/ns/net").readlink())


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
