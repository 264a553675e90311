"""What of a node's network is text: names, CNI lists, firewall rules, routes and lease files."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import sys
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.model import errors
from orchestrator.model.errors import ConfigError
from orchestrator.model.instance import PortBinding
from orchestrator.model.workload import Protocol
from orchestrator.runtime.network import host, leases, netlink
from orchestrator.runtime.network.conflist import plugin_config, read_list
from orchestrator.runtime.network.host_ports import HostPorts
from orchestrator.runtime.network.own_network import OwnNetwork, host_end
from orchestrator.runtime.network.records import Attachment, Publication, RecordDir, Way
from orchestrator.runtime.network.rules import Chains, ground_text, jumps_text, ports_text
from orchestrator.runtime.network.terms import NetworkTerms
from tests.support.ports import free_port

TERMS = NetworkTerms("orc0", IPv4Network("10.117.0.0/20"), Path("/run/orchestrator/n1/netns"))
CHAINS = Chains.of(TERMS)
NETWORK = OwnNetwork("orc0", TERMS.cidr, TERMS.routes, 1400, Path("/leases/orc0"))
WAY = Way("orc0", "10.117.0.0/20")
PORTS = (PortBinding("main", 80, 8080), PortBinding("main", 53, 5353, Protocol.UDP))
WEB = Publication("default.web.0.1.main", "default.web.0.1", "10.117.0.2", WAY, PORTS)
RESULT = {
    "cniVersion": "1.0.0",
    "interfaces": [
        {"name": "orc0", "mac": "16:f0:ef:dd:57:b1"},
        {"name": "veth12345678", "mac": "26:f0:ef:dd:57:b1"},
        {"name": "eth0", "mac": "36:f0:ef:dd:57:b1", "sandbox": "/run/netns/x"},
    ],
    "ips": [
        {"interface": 2, "address": "fd00::2/64"},
        {"interface": 2, "address": "10.117.0.2/20", "gateway": "10.117.0.1"},
    ],
}


def test_names_are_short_whatever_they_are_made_of_and_no_other_nodes() -> None:
    long = TERMS.namespace("default." + 63 * "w" + ".12.345678")
    assert long.parent == TERMS.namespace_dir
    assert len(long.name) < 24
    assert long != TERMS.namespace("default." + 63 * "w" + ".12.345679")
    assert TERMS.is_namespace(long.name)
    other = replace(TERMS, bridge="orc0-a")
    assert not TERMS.is_namespace(other.namespace("default.web.0.1").name)
    longest = Chains.of(replace(TERMS, bridge="abcdefghij"))
    assert max(len(chain) for chain in (longest.host_ports, longest.forward)) <= 28


def operators_list(**changes: Any) -> dict[str, Any]:
    plugins = [{"type": "ptp"}, {"type": "portmap", "capabilities": {"portMappings": True}}]
    return {"name": "theirs", "cniVersion": "0.4.0", "plugins": plugins} | changes


def test_a_plugin_is_given_what_it_declares_and_what_came_before(tmp_path: Path) -> None:
    path = tmp_path / "10-theirs.conflist"
    path.write_text(json.dumps(operators_list()))
    network = read_list(path)
    ptp, portmap = network.plugins
    arguments = {"portMappings": [{"hostPort": 1}], "bandwidth": {}}
    common = {"cniVersion": "0.4.0", "name": "theirs"}
    assert plugin_config(network, ptp, None, arguments) == {**common, "type": "ptp"}
    assert plugin_config(network, portmap, RESULT, arguments) == {
        **common,
        "type": "portmap",
        "prevResult": RESULT,
        "runtimeConfig": {"portMappings": [{"hostPort": 1}]},
    }
    assert network.port_mapping == replace(network, plugins=(portmap,))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "Expecting property name"),
        ("[]", "it must be a JSON object"),
        (json.dumps(operators_list(name="")), '"name" must be'),
        (json.dumps(operators_list(cniVersion="0.2.0")), '"cniVersion" must be one of 0.3.0'),
        (json.dumps(operators_list(plugins=[])), '"plugins" must be a list of objects'),
        (json.dumps(operators_list(plugins=[{"type": "../sh"}])), "a program's name"),
        (json.dumps({"type": "bridge", "name": "one", "cniVersion": "1.0.0"}), '"plugins"'),
    ],
)
def test_what_is_no_list_is_refused_with_its_path(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "bad.conflist"
    path.write_text(text)
    with pytest.raises(ConfigError, match="no CNI configuration list: ") as refused:
        read_list(path)
    assert says in str(refused.value)


def test_rules_of_ports_name_their_container() -> None:
    assert ports_text(CHAINS, [WEB], anew=True).splitlines() == [
        "*nat",
        ":ORC-orc0-IN - [0:0]",
        "-A ORC-orc0-IN -p tcp --dport 8080"
        ' -m comment --comment "default.web.0.1.main" -j DNAT --to-destination 10.117.0.2:80',
        "-A ORC-orc0-IN -p udp --dport 5353"
        ' -m comment --comment "default.web.0.1.main" -j DNAT --to-destination 10.117.0.2:53',
        "COMMIT",
    ]
    assert ":ORC-orc0-IN" not in ports_text(CHAINS, [WEB], anew=False)


def test_only_our_own_bridge_is_masqueraded_and_forwarded_from() -> None:
    ours = ground_text(CHAINS, WAY, [WAY])
    assert ours == ground_text(CHAINS, WAY, [])
    assert "-A ORC-orc0-OUT -s 10.117.0.0/20 ! -d 10.117.0.0/20 -j MASQUERADE" in ours
    assert "-A ORC-orc0-FWD -i orc0 -j ACCEPT" in ours
    theirs = ground_text(CHAINS, None, [Way("cni0", "10.1.0.0/24")])
    assert "! -d" not in theirs
    assert "-i cni0 -j ACCEPT" not in theirs
    assert "-A ORC-orc0-LO -i cni0 -d 127.0.0.0/8" in theirs


def test_jumps_are_added_where_they_are_missing() -> None:
    every = jumps_text(CHAINS, "-A FORWARD -j ORC-orc0-FWD2\n-A FORWARD -j ORC-orc01-FWD\n")
    assert every.count(" -j ORC-orc0-") == 5
    assert "-I FORWARD 1 -j ORC-orc0-FWD\n" in every
    jumps = "-A FORWARD -j ORC-orc0-FWD\n-A INPUT -j ORC-orc0-LO\n-A POSTROUTING -j ORC-orc0-OUT\n"
    assert jumps_text(CHAINS, jumps).splitlines() == [
        "*nat",
        "-A PREROUTING -m addrtype --dst-type LOCAL -j ORC-orc0-IN",
        "-A OUTPUT -m addrtype --dst-type LOCAL -j ORC-orc0-IN",
        "COMMIT",
    ]


def test_a_result_tells_address_network_and_the_hosts_interfaces() -> None:
    done = Attachment("default.web.0.1", Path("/run/netns/x"), NETWORK, RESULT)
    assert (done.address, done.subnet) == ("10.117.0.2", "10.117.0.0/20")
    assert done.host_interfaces == ("orc0", "veth12345678")
    begun = replace(done, result=None)
    assert (begun.address, begun.host_interfaces) == ("", ())


def test_the_last_whole_state_of_a_record_counts_and_damaged_ones_are_deleted(
    tmp_path: Path,
) -> None:
    records = RecordDir(tmp_path / "records", Publication)
    assert records.open() == {}
    done = replace(WEB, is_complete=True)
    for name in ("begun", "done", "torn"):
        records.write(name, WEB, is_synced=name == "begun")
    for name in ("done", "torn"):
        records.amend(name, done)
    torn = tmp_path / "records" / "torn.json"
    torn.write_bytes(torn.read_bytes()[:-5])
    (tmp_path / "records" / "half.json").write_text('{"container_id": "ha')
    (tmp_path / "records" / "empty.json").write_text("")
    assert records.open() == {"begun": WEB, "done": done, "torn": WEB}
    assert len(list((tmp_path / "records").iterdir())) == 3
    for name in ("begun", "begun", "done", "torn"):
        records.forget(name)
    assert records.open() == {}


def test_routes_tell_the_way_out_and_which_networks_are_taken() -> None:
    def number(address: str) -> str:
        octets = bytes(map(int, address.split(".")))
        return f"{int.from_bytes(octets, sys.byteorder):08X}"

    rows = [
        ("eth0", "0.0.0.0", "0.0.0.0"),
        ("tun0", "10.0.0.0", "255.0.0.0"),
        ("docker0", "10.117.4.0", "255.255.255.0"),
        ("orc0", "10.117.0.0", "255.255.240.0"),
    ]
    lines = [
        f"{name}\t{number(network)}\t0\t1\t0\t0\t7\t{number(mask)}\t0\t0\t0"
        for name, network, mask in rows
    ]
    table = list(host.parsed("\n".join(["Iface\tDestination", *lines, ""])))
    assert table[0] == host.Route("eth0", IPv4Network("0.0.0.0/0"), 7)
    assert host.conflicting(TERMS.cidr, "orc0", table) == table[2]
    assert host.conflicting(IPv4Network("10.118.0.0/20"), "orc0", table) is None
    assert host.conflicting(TERMS.cidr, "orc1", table[3:]) == table[3]


def taken(directory: Path, cidr: str, count: int) -> list[str]:
    addresses = [leases.take(directory, IPv4Network(cidr), str(number)) for number in range(count)]
    return [str(each) for each in addresses]


def test_addresses_are_given_in_turn_and_none_soon_again(tmp_path: Path) -> None:
    assert taken(tmp_path, "10.117.0.0/29", 3) == [
        "10.117.0.2/29",
        "10.117.0.3/29",
        "10.117.0.4/29",
    ]
    leases.release(tmp_path, "0")
    leases.release(tmp_path, "2")
    assert taken(tmp_path, "10.117.0.0/29", 2) == ["10.117.0.5/29", "10.117.0.6/29"]
    assert taken(tmp_path, "10.117.0.0/29", 3) == ["10.117.0.2/29", "10.117.0.4/29", "None"]
    assert {holder for _, holder in leases.leased(tmp_path)} == {"0", "1"}


@pytest.mark.parametrize("last", ["", "10.9.9.9", "10.117.0.6", "10.117.0.0", "half an add"])
def test_whatever_was_given_last_the_range_counts(tmp_path: Path, last: str) -> None:
    (tmp_path / "last_reserved_ip.0").write_text(last)
    assert taken(tmp_path, "10.117.0.0/29", 1) == ["10.117.0.2/29"]


def test_a_lease_that_cannot_be_written_is_nobodys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_fd: int, _text: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.write", full)
    with pytest.raises(OSError, match="No space"):
        taken(tmp_path, "10.117.0.0/29", 1)
    assert list(tmp_path.iterdir()) == []


def test_a_cables_name_is_short_and_no_other_nodes() -> None:
    names = {
        host_end(network, sandbox)
        for network in (NETWORK, replace(NETWORK, name="orc1"))
        for sandbox in ("default.web.0.1", "default.web.0.2")
    }
    assert len(names) == 4
    assert {len(each) for each in names} == {15}  # IFNAMSIZ, less the NUL


async def test_a_port_that_we_have_released_is_ours_when_the_last_copy_of_its_socket_goes() -> None:
    ports, wanted = HostPorts(), [PortBinding("main", 80, free_port())]
    await ports.hold("one", wanted)
    sockets = psutil.Process().net_connections()
    held = next(each.fd for each in sockets if each.laddr.port == wanted[0].host_port)
    copy = os.dup(held)  # as who is just being started has one
    ports.release("one")
    asyncio.get_running_loop().call_later(0.02, os.close, copy)
    await ports.hold("two", wanted)
    with pytest.raises(errors.RuntimeError, match="/tcp is already in use on this node"):
        await ports.hold("three", wanted)
    ports.close()


def test_leases_of_others_are_released(tmp_path: Path) -> None:
    assert list(leases.leased(tmp_path / "none")) == []
    for name, holder in (("10.117.0.2", "one\r\neth0"), ("10.117.0.3", "two\r\neth0")):
        (tmp_path / name).write_text(holder)
    for name in ("10.117.0.4", "lock", "last_reserved_ip.0"):  # the first by a full disk
        (tmp_path / name).write_text("")
    leases.release_others(tmp_path, {"two"})
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "10.117.0.3",
        "last_reserved_ip.0",
        "lock",
    ]


def test_only_the_leases_of_one_sandbox_are_released(tmp_path: Path) -> None:
    for name, holder in (("10.117.0.2", "one"), ("10.117.0.3", "two"), ("10.117.0.4", "one")):
        (tmp_path / name).write_text(f"{holder}\r\neth0")
    leases.release(tmp_path, "one", "10.117.0.3")  # given to another since
    leases.release(tmp_path, "one", "10.117.0.9")  # or free
    leases.release(tmp_path, "one", "10.117.0.2")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["10.117.0.3", "10.117.0.4"]
    leases.release(tmp_path, "one")  # wherever it is: the plugin has not come to tell
    assert [each.name for each in tmp_path.iterdir()] == ["10.117.0.3"]


def test_attributes_are_read_as_packed() -> None:
    inner = netlink.attribute(1, b"abc") + netlink.attribute(2, b"")
    packed = netlink.nested(7, inner) + netlink.attribute(3, b"12345678")
    found = netlink.attributes(packed)
    assert found[3] == b"12345678"
    assert netlink.attributes(found[7]) == {1: b"abc", 2: b""}
