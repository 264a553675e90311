"""From what is wanted to what an OCI runtime is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.model import errors
from orchestrator.model.container import NetworkMode, Security, SharedNamespace, Ulimit
from orchestrator.model.resources import NodeResources
from orchestrator.model.workload import ContainerConfig
from orchestrator.runtime.images.config import ImageConfig
from orchestrator.runtime.oci.capabilities import ALL, DEFAULT, granted
from orchestrator.runtime.oci.limits import rlimits
from orchestrator.runtime.oci.seccomp import seccomp_profile
from orchestrator.runtime.oci.spec import NodeFacts, Place, argv, config_json
from orchestrator.runtime.oci.users import User
from orchestrator.runtime.protocol import ContainerSpec, Isolation

EVERY = frozenset(ALL)
FACTS = NodeFacts(EVERY, {"nofile": 20_000, "core": 0}, has_swap_limit=True)
PLACE = Place(
    Path("/run/own"), "/orchestrator/x", "web-0", User(home="/root"), netns=Path("/run/netns/x")
)


def spec_of(**config: Any) -> ContainerSpec:
    own = ContainerConfig("main", image="app", **config)
    return ContainerSpec(
        "default.web.0.1.main",
        "default.web.0.1",
        "main",
        1,
        (*own.command, *own.args),
        limits=own.resource_limits,
        isolation=Isolation("app@sha256:0", own),
    )


def told(spec: ContainerSpec, place: Place = PLACE, facts: NodeFacts = FACTS) -> Any:
    image = ImageConfig(command=("serve",))
    return config_json(spec, image, place, facts, pids_limit=100, open_files=1024)


def with_isolation(spec: ContainerSpec, **fields: Any) -> ContainerSpec:
    assert spec.isolation is not None
    return replace(spec, isolation=replace(spec.isolation, **fields))


@pytest.mark.parametrize(
    ("command", "args", "expected"),
    [
        ((), (), ("enter", "default")),
        ((), ("one",), ("enter", "one")),
        (("mine",), (), ("mine",)),
        (("mine",), ("one",), ("mine", "one")),
    ],
)
def test_command_is_the_images_or_the_templates(
    command: tuple[str, ...], args: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    image = ImageConfig(entrypoint=("enter",), command=("default",))
    assert argv(spec_of(command=command, args=args), image) == expected


def test_without_a_command_there_is_none() -> None:
    assert argv(spec_of(), ImageConfig()) == ()


def test_limits_become_quota_shares_and_bytes() -> None:
    spec = spec_of(
        resource_requests=NodeResources(cpu_cores=2),
        resource_limits=NodeResources(cpu_cores=0.001, memory_mb=64),
        pids_limit=7,
    )
    resources = told(spec)["linux"]["resources"]
    assert resources["cpu"] == {"shares": 2048, "quota": 1000, "period": 100_000}
    assert resources["memory"] == {"limit": 64_000_000, "swap": 64_000_000}
    assert resources["pids"] == {"limit": 7}


def test_what_is_not_limited_has_the_nodes_bound_of_processes_only() -> None:
    resources = told(spec_of())["linux"]["resources"]
    assert (resources["cpu"], resources["memory"]) == ({}, {})
    assert resources["pids"] == {"limit": 100}


def test_swap_is_not_limited_where_the_kernel_cannot() -> None:
    spec = spec_of(resource_limits=NodeResources(memory_mb=1))
    facts = replace(FACTS, has_swap_limit=False)
    assert told(spec, facts=facts)["linux"]["resources"]["memory"] == {"limit": 1_000_000}


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Ulimit(10, 20), (10, 20)),
        (Ulimit(30_000, 40_000), (20_000, 20_000)),
        (Ulimit(-1, -1), (20_000, 20_000)),
        (Ulimit(50, 20), (20, 20)),
    ],
)
def test_ulimits_are_clamped(wanted: Ulimit, expected: tuple[int, int]) -> None:
    (limit,) = rlimits({"nofile": wanted}, FACTS.hard_limits, 1024)
    assert (limit["soft"], limit["hard"]) == expected


def test_ulimit_that_does_not_exist_is_refused() -> None:
    with pytest.raises(errors.RuntimeError, match="no ulimit 'files'"):
        rlimits({"files": Ulimit(1, 1)}, {}, 1024)


def test_namespaces_follow_network_and_sharing() -> None:
    def kinds(spec: ContainerSpec, place: Place = PLACE) -> dict[str, str]:
        namespaces = told(spec, place)["linux"]["namespaces"]
        return {each["type"]: each.get("path", "") for each in namespaces}

    own = kinds(spec_of())
    assert own["network"] == "/run/netns/x"
    assert (own["pid"], own["ipc"], own["uts"]) == ("", "", "")
    on_host = kinds(with_isolation(spec_of(), network=NetworkMode.HOST))
    assert "network" not in on_host
    assert "uts" not in on_host
    shared = kinds(spec_of(), replace(PLACE, shared={SharedNamespace.PID: 17}))
    assert (shared["pid"], shared["ipc"]) == ("/proc/17/ns/pid", "")


def test_privileged_is_without_bounds() -> None:
    linux = told(spec_of(security=Security(privileged=True)))["linux"]
    assert "seccomp" not in linux
    assert "maskedPaths" not in linux
    assert linux["resources"]["devices"] == [{"allow": True, "access": "rwm"}]


def test_init_is_put_before_the_command() -> None:
    place = replace(PLACE, init_program=Path("/usr/bin/tini-static"))
    config = told(spec_of(init=True), place)
    assert config["process"]["args"] == ["/dev/init", "--", "serve"]
    assert "/dev/init" in [each["destination"] for each in config["mounts"]]


def test_capabilities_are_those_that_the_agent_has_itself() -> None:
    assert granted(Security(), EVERY) == DEFAULT
    assert granted(Security(), DEFAULT - {"CAP_CHOWN"}) == DEFAULT - {"CAP_CHOWN"}
    assert granted(Security(drop_capabilities=("all",)), EVERY) == frozenset()
    assert granted(Security(add_capabilities=("ALL",)), DEFAULT) == DEFAULT
    with pytest.raises(errors.RuntimeError, match="no capability 'fly'"):
        granted(Security(add_capabilities=("fly",)), EVERY)
    with pytest.raises(errors.RuntimeError, match="asks for CAP_SYS_ADMIN, which"):
        granted(Security(add_capabilities=("sys_admin",)), DEFAULT)


@pytest.mark.parametrize("machine", ["x86_64", "aarch64", "s390x", "riscv64"])
def test_filter_allows_what_programs_need_and_no_more(machine: str) -> None:
    def allowed(capabilities: frozenset[str]) -> set[str]:
        rules = seccomp_profile(capabilities, machine)["syscalls"]
        return {
            name
            for rule in rules
            if rule["action"] == "SCMP_ACT_ALLOW" and "args" not in rule
            for name in rule["names"]
        }

    usual = allowed(DEFAULT)
    assert {"read", "execve", "openat", "futex", "chroot", "landlock_restrict_self"} <= usual
    refused = {"mount", "bpf", "unshare", "keyctl", "io_uring_setup", "kexec_load", "clone"}
    assert not refused & usual
    assert {"mount", "unshare", "clone"} <= allowed(DEFAULT | {"CAP_SYS_ADMIN"})
    assert seccomp_profile(DEFAULT, machine)["architectures"]
