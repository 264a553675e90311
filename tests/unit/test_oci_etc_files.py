"""What a container finds in /etc as its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.runtime.network.terms import Sandbox
from orchestrator.runtime.oci.etc_files import hostname, resolv_conf, write_etc_files
from orchestrator.runtime.oci.starting import signal_number


@pytest.mark.parametrize(
    ("instance", "name"),
    [
        ("default.web.0.17", "web-0"),
        (f"default.{'w' * 90}.12.1", f"{'w' * 60}-12"),
        ("odd_name", "odd-name"),
    ],
)
def test_host_name_is_the_slots(instance: str, name: str) -> None:
    assert hostname(instance) == name
    assert len(name) <= 63


def test_servers_that_only_the_node_reaches_are_left_out() -> None:
    stub = "nameserver 127.0.0.53\noptions edns0\nsearch lan\n"
    real = "nameserver 192.0.2.1\nsearch lan\n"
    assert resolv_conf(real, "") == real
    assert resolv_conf(stub, real) == real
    assert resolv_conf(stub + real, "") == "options edns0\nsearch lan\n" + real
    assert resolv_conf(stub, "") == stub


def test_hosts_know_the_instances_address(tmp_path: Path) -> None:
    write_etc_files(tmp_path, "web-0", Sandbox("x", Path("/run/netns/x"), "10.1.2.3"))
    assert "10.1.2.3\tweb-0\n" in (tmp_path / "hosts").read_text()
    assert (tmp_path / "hostname").read_text() == "web-0\n"


@pytest.mark.parametrize(
    ("name", "number"), [("", 15), ("SIGQUIT", 3), ("quit", 3), ("10", 10), ("SIGNONE", 15)]
)
def test_stop_signal_by_name_or_number(name: str, number: int) -> None:
    assert signal_number(name) == number
