"""What containers made of images may ask for, wrong in every way that we have thought of."""

from __future__ import annotations

import pytest

from orchestrator.model.container import Device, NetworkMode, PullPolicy, Ulimit, Volume
from orchestrator.model.container import VolumeKind as Kind
from orchestrator.model.manifest import parse_manifests
from orchestrator.model.rules.volumes import OPTIONS
from tests.support.manifests import WEB, complaints

IMAGE = """\
name: web
containers:
  - name: server
    image: nginx
"""
MANY = ", ".join(f"{{volume: data, path: /srv/{at}}}" for at in range(51))


def of_workload(line: str) -> str:
    """What is said of a workload with that line, the fifth."""
    (complaint,) = complaints(IMAGE + line)
    return complaint.removeprefix("web.yaml:5: ")


def of_container(line: str, volumes: str = "{name: data, kind: tmpfs}") -> str:
    """What is said of a container with that line, the sixth."""
    text = f"volumes: [{volumes}]\n{IMAGE}    {line}"
    (complaint,) = complaints(text)
    return complaint.removeprefix("web.yaml:6: ").removeprefix("containers[0].")


@pytest.mark.parametrize(
    ("line", "where"),
    [
        ("    pull_policy: always", "containers[0].pull_policy is 'always'"),
        ("    security: {user: app}", "containers[0].security.user is 'app'"),
        ("    security: {no_new_privileges: false}", "containers[0].security.no_new_privileges is"),
        ("    security: {drop_capabilities: [ALL]}", "containers[0].security.drop_capabilities is"),
        ("    mounts: [{volume: a, path: /a}]", "containers[0].mounts is a list of 1"),
        ("    devices: [{path: /dev/fuse}]", "containers[0].devices is a list of 1"),
        ("    ulimits: {nofile: {soft: 1, hard: 1}}", "containers[0].ulimits is a list of 1"),
        ("    pids_limit: 7", "containers[0].pids_limit is 7"),
        ("    init: true", "containers[0].init is true"),
        ("    stdin: true", "containers[0].stdin is true"),
        ("    tty: true", "containers[0].tty is true"),
        ("volumes: [{name: a, kind: local}]", "volumes is a list of 1"),
        ("network: host", "network is 'host'"),
        ("shared: [pid]", "shared is a list of 1"),
        ("user_namespace: true", "user_namespace is true"),
    ],
)
def test_a_plain_process_has_none_of_it(line: str, where: str) -> None:
    (complaint,) = complaints(WEB + line)
    assert complaint.startswith(f"web.yaml:5: {where}")
    rule = "it is for images only: leave it out for a plain process, or name an image to run"
    assert complaint.endswith(rule)


def test_what_is_said_in_its_default_is_not_said() -> None:
    (spec,) = parse_manifests(f"{WEB}    security: {{privileged: false}}\nnetwork: bridge\n")
    (same,) = parse_manifests(WEB)
    assert spec == same


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("security: {user: 'a b'}", "security.user is 'a b': it must be user or user:group, each"),
        ("security: {user: ':a'}", "security.user is ':a': it must be user or user:group"),
        ("security: {user: '4294967295'}", "security.user is '4294967295': it must be user or"),
        ("security: {user: 'a:4294967295'}", "security.user is 'a:4294967295': it must be user"),
        ("security: {seccomp: none}", "security.seccomp is 'none': it must be 'default' or"),
        (
            "security: {add_capabilities: [NET_ADMN]}",
            "security.add_capabilities[0] is 'NET_ADMN': capabilities(7) names no such capability;"
            " did you mean 'NET_ADMIN'?",
        ),
        (
            "security: {drop_capabilities: [cap_chown]}",
            "security.drop_capabilities[0] is 'cap_chown': capabilities(7) names no such"
            " capability; did you mean 'CHOWN'?",
        ),
        (
            "security: {drop_capabilities: [zzz]}",
            "security.drop_capabilities[0] is 'zzz': capabilities(7) names no such capability",
        ),
        (
            "security: {add_capabilities: [ALL]}",
            "security.add_capabilities[0] is 'ALL': only privileged: true gives all of them",
        ),
        (
            "security: {add_capabilities: [KILL, CAP_KILL]}",
            "security.add_capabilities[1] is 'CAP_KILL': containers[0].security.add_capabilities[0]"
            " has it already",
        ),
        (
            "security: {add_capabilities: [KILL], drop_capabilities: [CAP_KILL]}",
            "security.drop_capabilities[0] is 'CAP_KILL': containers[0].security.add_capabilities"
            " has it: add it, or drop it",
        ),
        (
            "security: {privileged: true, drop_capabilities: [KILL]}",
            "security.drop_capabilities is a list of 1: with containers[0].security.privileged it"
            " has all capabilities: drop none",
        ),
        (
            "mounts: [{volume: date, path: /a}]",
            "mounts[0].volume is 'date': the workload has no volume of that name; did you mean",
        ),
        (
            "mounts: [{volume: zzz, path: /a}]",
            "mounts[0].volume is 'zzz': the workload has no volume of that name: name it under",
        ),
        (
            "mounts: [{volume: data, path: a}]",
            "mounts[0].path is 'a': it must be an absolute path without '.', '..', '//' and a '/'",
        ),
        ("mounts: [{volume: data, path: ''}]", "mounts[0].path is '': it must be an absolute path"),
        ("mounts: [{volume: data, path: /a/}]", "mounts[0].path is '/a/': it must be an absolute"),
        ("mounts: [{volume: data, path: /a/../b}]", "mounts[0].path is '/a/../b': it must be an"),
        ("mounts: [{volume: data, path: /./b}]", "mounts[0].path is '/./b': it must be an absolu"),
        ('mounts: [{volume: data, path: "/a\\0"}]', "mounts[0].path is '/a\\x00': it must not con"),
        ("mounts: [{volume: data, path: /}]", "mounts[0].path is '/': the runtime's own file sys"),
        ("mounts: [{volume: data, path: /proc/x}]", "mounts[0].path is '/proc/x': the runtime's"),
        ("mounts: [{volume: data, path: /sys}]", "mounts[0].path is '/sys': the runtime's own"),
        (
            "mounts: [{volume: data, path: /a}, {volume: data, path: /a}]",
            "mounts[1].path is '/a': containers[0].mounts[0].path has it already",
        ),
        (f"mounts: [{MANY}]", "mounts is a list of 51: it may have at most 50 items"),
        (
            "mounts: [{volume: data, target: /a}]",
            "unknown field 'target' in containers[0].mounts[0]; did you mean 'path'?",
        ),
        ("devices: [{path: fuse}]", "devices[0].path is 'fuse': it must be a device of the node"),
        ("devices: [{path: /etc/passwd}]", "devices[0].path is '/etc/passwd': it must be a devic"),
        ("devices: [{path: /dev/../etc}]", "devices[0].path is '/dev/../etc': it must be an abso"),
        ("devices: [{path: /dev/}]", "devices[0].path is '/dev/': it must be an absolute path"),
        (
            "devices: [{path: /dev/fuse, access: rx}]",
            "devices[0].access is 'rx': it must be made of 'r', 'w' and 'm', each once at most",
        ),
        ("devices: [{path: /dev/fuse, access: rr}]", "devices[0].access is 'rr': it must be made"),
        ("devices: [{path: /dev/fuse, access: ''}]", "devices[0].access is '': it must be made of"),
        (
            "devices: [{path: /dev/fuse}, {path: /dev/fuse, access: r}]",
            "devices[1].path is '/dev/fuse': containers[0].devices[0].path has it already",
        ),
        (
            "ulimits: {RLIMIT_NOFILE: {soft: 1, hard: 1}}",
            "ulimits.RLIMIT_NOFILE is 1: there is no limit of that name; did you mean 'nofile'?",
        ),
        (
            "ulimits: {zzzz: {soft: 1, hard: 1}}",
            "ulimits.zzzz is 1: there is no limit of that name; known: as, core, cpu, data, fsize,",
        ),
        (
            "ulimits: {nofile: {soft: 2, hard: 1}}",
            "ulimits.nofile.soft is 2: it must not be more than containers[0].ulimits.nofile.hard,"
            " which is 1",
        ),
        (
            "ulimits: {nofile: {soft: -1, hard: 1}}",
            "ulimits.nofile.soft is -1: it must be 0 to 9223372036854775807",
        ),
        (
            "ulimits: {nofile: {soft: 0, hard: 9223372036854775808}}",
            "ulimits.nofile.hard is 9223372036854775808: it must be 0 to 9223372036854775807",
        ),
        ("ulimits: {nofile: 5}", "ulimits.nofile is 5: it must be a mapping"),
        ("ulimits: {nofile: {soft: 5}}", "ulimits.nofile.hard is missing"),
        ("ulimits: [nofile]", "ulimits is a list: it must be a mapping"),
        ("pids_limit: 0", "pids_limit is 0: it must be 1 to 4194304"),
        ("pids_limit: 4194305", "pids_limit is 4194305: it must be 1 to 4194304"),
        ("pull_policy: Always", "pull_policy is 'Always': it must be 'always' or"),
        ("tty: 1", "tty is 1: it must be true or false, without quotes"),
    ],
)
def test_a_container_field_that_is_wrong(line: str, told: str) -> None:
    assert of_container(line).startswith(told)


@pytest.mark.parametrize(
    ("volume", "told"),
    [
        ("{name: A, kind: local}", "name is 'A': it must be 1 to 63 of a-z, 0-9 and '-'"),
        ("{name: a}", "kind is missing"),
        ("{name: a, kind: disk}", "kind is 'disk': it must be 'bind' or 'tmpfs' or 'local' or"),
        ("{name: a, kind: local, source: /a}", "source is '/a': a volume of kind local has no sou"),
        ("{name: a, kind: tmpfs, source: a}", "source is 'a': a volume of kind tmpfs has no sour"),
        ("{name: a, kind: bind}", "source is '': it must be an absolute path without '.', '..'"),
        ("{name: a, kind: bind, source: srv}", "source is 'srv': it must be an absolute path"),
        ("{name: a, kind: bind, source: /a/../b}", "source is '/a/../b': it must be an absolute"),
        ('{name: a, kind: bind, source: "/\\0"}', "source is '/\\x00': it must not contain the ch"),
        ("{name: a, kind: nfs}", "source is '': it must be server:/path, the path without '..'"),
        ("{name: a, kind: nfs, source: /srv}", "source is '/srv': it must be server:/path"),
        ("{name: a, kind: nfs, source: 'h:srv'}", "source is 'h:srv': it must be server:/path"),
        ("{name: a, kind: nfs, source: 'h:/a/..'}", "source is 'h:/a/..': it must be server:/path"),
        ("{name: a, kind: nfs, source: '-o:/a'}", "source is '-o:/a': it must be server:/path"),
        ("{name: a, kind: local, size_mb: 5}", "size_mb is 5: only a tmpfs can be bounded, not a"),
        ("{name: a, kind: tmpfs, size_mb: 0}", "size_mb is 0: it must be 0.1 to 100000000"),
        (
            "{name: a, kind: tmpfs, options: size=5m}",
            "options is 'size=5m': its size is said in size_mb",
        ),
        (
            "{name: a, kind: tmpfs, options: mode}",
            "options is 'mode': 'mode' takes a value of letters, digits and '_.:/+-': mode=...",
        ),
        (
            "{name: a, kind: tmpfs, options: mode=}",
            "options is 'mode=': 'mode' takes a value of letters, digits and '_.:/+-': mode=...",
        ),
        (
            "{name: a, kind: tmpfs, options: 'mode=1 7'}",
            "options is 'mode=1 7': 'mode' takes a value of letters",
        ),
        ("{name: a, kind: tmpfs, options: ro=1}", "options is 'ro=1': 'ro' takes no value"),
        (
            "{name: a, kind: tmpfs, options: 'ro,,noexec'}",
            "options is 'ro,,noexec': '' is none of the options for a volume of kind tmpfs; known:",
        ),
        (
            "{name: a, kind: local, options: suid}",
            "options is 'suid': 'suid' is none of the options for a volume of kind local; did you",
        ),
        (
            "{name: a, kind: nfs, source: 'h:/', options: 'ro,nfsver=4'}",
            "options is 'ro,nfsver=4': 'nfsver' is none of the options for a volume of kind nfs;"
            " did you mean 'nfsvers'?",
        ),
        (
            "{name: a, kind: bind, source: /a, options: vers=4}",
            "options is 'vers=4': 'vers' is none of the options for a volume of kind bind; known:",
        ),
    ],
)
def test_a_volume_that_is_wrong(volume: str, told: str) -> None:
    assert of_workload(f"volumes: [{volume}]").startswith(f"volumes[0].{told}")


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize(
    "option",
    ["suid", "dev", "remount", "bind", "rbind", "move", "shared", "rslave", "user", "loop", "x-a"],
)
def test_no_mount_option_undoes_what_holds_a_container_in(kind: Kind, option: str) -> None:
    assert option not in OPTIONS[kind]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            "volumes: [{name: a, kind: local}, {name: a, kind: tmpfs}]",
            "volumes[1].name is 'a': volumes[0].name has it already",
        ),
        ("shared: [pid, pid]", "shared[1] is 'pid': shared[0] has it already"),
        ("shared: [net]", "shared[0] is 'net': it must be 'pid' or 'ipc'"),
        ("network: bridged", "network is 'bridged': it must be 'bridge' or 'host' or 'none'; did"),
    ],
)
def test_a_workload_field_that_is_wrong(line: str, told: str) -> None:
    assert of_workload(line).startswith(told)


NFS = "volumes: [{name: a, kind: nfs, source: 'h:/a', single_writer: true}]\n"


def test_an_export_with_one_writer_has_one_instance_and_waits_for_a_lost_node() -> None:
    (spec,) = parse_manifests(f"{IMAGE}{NFS}on_node_lost: wait\n")
    assert spec.volumes[0].single_writer
    assert complaints(IMAGE + NFS) == [
        "web.yaml:1: on_node_lost is 'replace': with volumes[0].single_writer it must be 'wait': a"
        " node that cannot be reached may go on writing while the replacement does"
    ]
    told = complaints(f"{IMAGE}{NFS}on_node_lost: wait\nreplicas: 2\n")
    assert told == [
        "web.yaml:7: replicas is 2: all of them would mount the same export, and"
        " volumes[0].single_writer allows one: let it be 1"
    ]


@pytest.mark.parametrize(
    "volume", ["{name: a, kind: local, single_writer: true}", "{name: a, kind: nfs, source: 'h:/'}"]
)
def test_other_volumes_do_not_ask_for_that(volume: str) -> None:
    parse_manifests(f"{IMAGE}volumes: [{volume}]\nreplicas: 2\n")


PORTS = """\
name: web
containers:
  - {name: a, image: nginx, ports: [{container_port: 80, host_port: 8080}]}
"""


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            "network: none",
            "web.yaml:3: containers[0].ports[0].container_port is 80: with network: none nobody can"
            " reach it: leave out the port, or the network",
        ),
        (
            "network: host",
            "web.yaml:3: containers[0].ports[0].host_port is 8080: with network: host it is"
            " container_port, 80, or left out",
        ),
        (
            "  - {name: b, image: nginx, ports: [{container_port: 80}]}",
            "web.yaml:4: containers[1].ports[0].container_port is 80:"
            " containers[0].ports[0].container_port has it already",
        ),
    ],
)
def test_ports_that_the_network_does_not_have(line: str, told: str) -> None:
    assert complaints(PORTS + line) == [told]


def test_ports_that_the_network_has() -> None:
    same = "ports: [{container_port: 80, host_port: 80}, {container_port: 81}]"
    (spec,) = parse_manifests(f"{IMAGE}    {same}\nnetwork: host\n")
    assert spec.network is NetworkMode.HOST
    twice = "{name: %s, command: [a], ports: [{container_port: 80}]}"
    parse_manifests(f"name: web\ncontainers: [{twice % 'a'}, {twice % 'b'}]\n")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            f"{IMAGE}user_namespace: true\nnetwork: host\n",
            "user_namespace is true: with network: host its root would have no say in its own"
            " network: leave one out",
        ),
        (
            f"{IMAGE}    security: {{privileged: true}}\nuser_namespace: true\n",
            "user_namespace is true: containers[0].security.privileged gives what it takes away:"
            " leave one out",
        ),
    ],
)
def test_what_a_user_namespace_rules_out(text: str, told: str) -> None:
    (complaint,) = complaints(text)
    assert complaint.partition(": ")[2] == told


def test_all_of_it_as_people_write_it() -> None:
    (spec,) = parse_manifests(
        f"""{IMAGE}\
    pull_policy: never
    security: {{user: "app:0", drop_capabilities: [ALL], add_capabilities: [CAP_NET_RAW]}}
    mounts: [{{volume: data, path: /data, read_only: true}}, {{volume: tmp, path: /dev/shm}}]
    devices: [{{path: /dev/net/tun, access: rwm}}]
    ulimits: {{nofile: {{soft: 1024, hard: 4096}}}}
    pids_limit: 100
    init: true
volumes:
  - {{name: data, kind: nfs, source: "nfs.example.org:/", options: "vers=4.2,ro,hard"}}
  - {{name: tmp, kind: tmpfs, size_mb: 64, options: "mode=1777"}}
  - {{name: host, kind: bind, source: /}}
user_namespace: true
"""
    )
    (container,) = spec.containers
    assert container.pull_policy is PullPolicy.NEVER
    assert container.devices == (Device("/dev/net/tun", "rwm"),)
    assert container.ulimits == {"nofile": Ulimit(1024, 4096)}
    assert spec.volumes[2] == Volume("host", Kind.BIND, "/")
