"""The text of our iptables rules, as iptables-restore reads it.

Theory of operation
-------------------
A node has four chains of its own, named by its bridge, and one jump to each:

    nat     PREROUTING, OUTPUT  -> IN     host ports of this machine to containers
    nat     POSTROUTING         -> OUT    who must be taken for the host, so that answers come back
    filter  FORWARD             -> FWD    what Docker's or a firewall's policy DROP would cut off
    filter  INPUT               -> LO     what route_localnet would let in

A port is led on wherever a packet for an address of this machine comes from: outside, another
container, this container itself (hairpin) or a process of the host, by 127.0.0.1 too. Of those,
a container is answered by its neighbour directly, past this machine, and 127.0.0.1 is somebody
else in there: such connections leave as the host's.

route_localnet lets 127.0.0.1 leave by the bridge, and as well come in by it: services that trust
their own machine would be open to containers. What was not an answer is dropped.

A batch that only adds appends its rules. One that takes away writes the chain anew, in the same
transaction of the kernel: so nothing has to be found by its text, and nothing can be left.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.runtime.network.records import Publication, Way
from orchestrator.runtime.network.terms import NetworkTerms

LOOPBACK = "127.0.0.0/8"
KNOWN = "-m conntrack --ctstate RELATED,ESTABLISHED"
NOT_KNOWN = KNOWN.replace("--ctstate", "! --ctstate")
LED_ON = "-m conntrack --ctstate DNAT"
"""Connections that some rule leads elsewhere than where they went: host ports."""


@dataclass(frozen=True, slots=True)
class Chains:
    """The names of the four."""

    host_ports: str
    masquerade: str
    forward: str
    loopback: str

    @classmethod
    def of(cls, terms: NetworkTerms) -> Chains:
        return cls(*map(terms.chain, ("IN", "OUT", "FWD", "LO")))

    @property
    def by_table(self) -> dict[str, tuple[str, str]]:
        return {
            "nat": (self.host_ports, self.masquerade),
            "filter": (self.forward, self.loopback),
        }

    @property
    def jumps(self) -> tuple[tuple[str, str, str], ...]:
        """(table, how to add it, what). In filter ours go first: some hosts' end in REJECT."""
        to_ports = f"-m addrtype --dst-type LOCAL -j {self.host_ports}"
        return (
            ("nat", "-A PREROUTING", to_ports),
            ("nat", "-A OUTPUT", to_ports),
            ("nat", "-A POSTROUTING", f"-j {self.masquerade}"),
            ("filter", "-I FORWARD 1", f"-j {self.forward}"),
            ("filter", "-I INPUT 1", f"-j {self.loopback}"),
        )


def jumps_text(chains: Chains, saved: str) -> str:
    """Adds the jumps that are missing in `saved`, what iptables-save has shown."""
    missing: dict[str, list[str]] = {"nat": [], "filter": []}
    for table, how, jump in chains.jumps:
        chain, target = how.split()[1], jump.split()[-1]
        if not re.search(rf"^-A {chain} .*-j {re.escape(target)}$", saved, re.MULTILINE):
            missing[table].append(f"{how} {jump}")
    return "".join(_table(table, lines) for table, lines in missing.items() if lines)


def removal_text(chains: Chains, saved: str) -> str:
    """Takes away what `saved` shows of these chains and of the jumps to them."""
    text = ""
    for table, names in chains.by_table.items():
        shown = _of_table(saved, table)
        there = [name for name in names if re.search(rf"^:{re.escape(name)} ", shown, re.MULTILINE)]
        jumps = [
            jump
            for name in there
            for jump in re.findall(rf"^-A (\S+ .*-j {re.escape(name)})$", shown, re.MULTILINE)
        ]
        lines = [f"-D {jump}" for jump in jumps]
        lines += [f"-F {name}" for name in there] + [f"-X {name}" for name in there]
        text += _table(table, lines) if lines else ""
    return text


def ground_text(chains: Chains, own: Way | None, others: Collection[Way]) -> str:
    """The chains besides that of host ports, written anew. `own` is our bridge's way, whose
    containers may go anywhere; beyond their own network they are taken for the host."""
    ways = sorted({*others, *([own] if own else [])}, key=lambda way: (way.interface, way.subnet))
    written = {
        chains.masquerade: [*_outbound(own), *_inbound(ways)],
        chains.forward: [*_forwarded(own), *_led_on(ways)],
        chains.loopback: list(_guarded(ways)),
    }
    nat = _chains(written, chains.masquerade)
    return _table("nat", nat) + _table("filter", _chains(written, chains.forward, chains.loopback))


def ports_text(chains: Chains, published: Iterable[Publication], *, anew: bool) -> str:
    """The chain of host ports. `anew`: with these and no others."""
    lines = [_anew(chains.host_ports)] if anew else []
    lines += [f"-A {chains.host_ports} {rule}" for each in published for rule in _port_rules(each)]
    return _table("nat", lines)


def _port_rules(each: Publication) -> Iterator[str]:
    for port in each.ports:
        yield (
            f"-p {port.protocol} --dport {port.host_port}"
            f' -m comment --comment "{each.container_id}"'
            f" -j DNAT --to-destination {each.address}:{port.container_port}"
        )


def _outbound(own: Way | None) -> Iterator[str]:
    if own is not None:
        yield f"-s {own.subnet} ! -d {own.subnet} -j MASQUERADE"


def _inbound(ways: Iterable[Way]) -> Iterator[str]:
    for subnet in sorted({each.subnet for each in ways}):
        yield f"-s {subnet} -d {subnet} {LED_ON} -j MASQUERADE"
        yield f"-s {LOOPBACK} -d {subnet} {LED_ON} -j MASQUERADE"


def _forwarded(own: Way | None) -> Iterator[str]:
    if own is not None:
        yield f"-i {own.interface} -j ACCEPT"
        yield f"-o {own.interface} {KNOWN} -j ACCEPT"


def _led_on(ways: Iterable[Way]) -> Iterator[str]:
    for way in ways:
        yield f"-o {way.interface} -d {way.subnet} {LED_ON} -j ACCEPT"
        yield f"-i {way.interface} -s {way.subnet} {LED_ON} -j ACCEPT"


def _guarded(ways: Iterable[Way]) -> Iterator[str]:
    for interface in sorted({each.interface for each in ways}):
        yield f"-i {interface} -s {LOOPBACK} {NOT_KNOWN} -j DROP"
        yield f"-i {interface} -d {LOOPBACK} {NOT_KNOWN} -j DROP"


def _of_table(saved: str, table: str) -> str:
    """What iptables-save has shown of one."""
    return saved.partition(f"*{table}\n")[2].partition("COMMIT\n")[0]


def _chains(rules: Mapping[str, Sequence[str]], *names: str) -> list[str]:
    """Declared first: that also empties those that are there."""
    added = (f"-A {name} {rule}" for name in names for rule in rules[name])
    return [*map(_anew, names), *added]


def _anew(chain: str) -> str:
    return f":{chain} - [0:0]"


def _table(name: str, lines: Iterable[str]) -> str:
    return "\n".join([f"*{name}", *lines, "COMMIT", ""])
