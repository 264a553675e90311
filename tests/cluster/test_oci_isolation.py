"""What a container made of an image may do, sees, and is."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.model import errors
from orchestrator.model.container import (
    Device,
    NetworkMode,
    SeccompProfile,
    Security,
    SharedNamespace,
)
from orchestrator.runtime import syscalls
from orchestrator.runtime.images.config import ImageConfig
from orchestrator.runtime.oci.capabilities import ALL, DEFAULT
from orchestrator.runtime.protocol import ContainerRuntime, ContainerSpec, ExecRequest
from tests.support.containers import DEADLINE_SECONDS, until_exited
from tests.support.oci import OCI_RUNTIMES, OciWorld, printed, until_printed

ONE = "default.web.0.1.main"
SIDE = "default.web.0.1.side"
pytestmark = pytest.mark.parametrize("oci_world", OCI_RUNTIMES, indirect=True)

SAFE = Security()
STATUS = "grep -E '^(Cap|Seccomp:|NoNewPrivs)' /proc/self/status | tr '\\t' ' '"


async def said(
    world: OciWorld, script: str, *, security: Security = SAFE, **config: Any
) -> list[str]:
    runtime = await world.open()
    await runtime.create(world.shell(ONE, script, security=security, **config))
    await until_exited(runtime, ONE)
    lines = await printed(runtime, ONE)
    await runtime.remove(ONE)
    return lines


async def privileges(world: OciWorld, security: Security) -> dict[str, str]:
    lines = await said(world, STATUS, security=security)
    return dict(line.split(": ", 1) for line in lines)


def names(mask: str) -> set[str]:
    return {name for bit, name in enumerate(ALL) if int(mask, 16) >> bit & 1}


async def test_defaults_are_safe(oci_world: OciWorld) -> None:
    found = await privileges(oci_world, Security())
    assert names(found["CapBnd"]) == names(found["CapEff"]) == DEFAULT
    assert names(found["CapInh"]) == set()
    assert (found["Seccomp"], found["NoNewPrivs"]) == ("2", "1")


async def test_capabilities_are_added_and_dropped(oci_world: OciWorld) -> None:
    security = Security(drop_capabilities=("ALL",), add_capabilities=("net_admin", "CAP_CHOWN"))
    found = await privileges(oci_world, security)
    assert names(found["CapEff"]) == {"CAP_NET_ADMIN", "CAP_CHOWN"}


async def test_filter_and_new_privileges_can_be_had_otherwise(oci_world: OciWorld) -> None:
    security = Security(seccomp=SeccompProfile.UNCONFINED, no_new_privileges=False)
    found = await privileges(oci_world, security)
    assert (found["Seccomp"], found["NoNewPrivs"]) == ("0", "0")


async def test_filter_refuses_what_is_the_machines(oci_world: OciWorld) -> None:
    script = "unshare -m true; echo $?; mount -t tmpfs x /tmp; echo $?; swapoff -a; chown 5 /tmp"
    lines = await said(oci_world, script + "; echo $?")
    assert [line for line in lines if line.isdigit()] == ["1", "1", "0"]


async def test_privileged_must_be_allowed(oci_world: OciWorld) -> None:
    security = Security(privileged=True)
    runtime = await oci_world.open()
    with pytest.raises(errors.RuntimeError, match="--allow-privileged"):
        await runtime.create(oci_world.shell(ONE, "true", security=security))
    oci_world.terms = replace(oci_world.terms, allow_privileged=True)
    found = await privileges(oci_world, security)
    assert found["Seccomp"] == "0"
    assert "CAP_SYS_ADMIN" in names(found["CapEff"])


@pytest.mark.parametrize(
    ("user", "shown"),
    [
        ("", "uid=0(root) gid=0(root)"),
        ("app", "uid=1000(app) gid=1000(app) groups=2000(extra)"),
        ("1000", "uid=1000(app) gid=1000(app) groups=2000(extra)"),
        ("app:extra", "uid=1000(app) gid=2000(extra)"),
        ("4000:app", "uid=4000 gid=1000(app)"),
    ],
)
async def test_user_is_resolved_inside_the_image(
    oci_world: OciWorld, user: str, shown: str
) -> None:
    lines = await said(oci_world, "id; cat /proc/self/status", security=Security(user=user))
    ids, groups = lines[0], next(line for line in lines if line.startswith("Groups:"))
    assert ids.split(" groups=")[0] == shown.split(" groups=", maxsplit=1)[0]
    assert ("2000" in groups.split()) == ("groups=2000" in shown)


async def test_image_has_its_user_home_directory_and_variables(oci_world: OciWorld) -> None:
    oci_world.images.config = ImageConfig(
        user="app", working_dir="/srv/made", env={"A": "image", "GREETING": "image"}
    )
    lines = await said(oci_world, 'id -u; pwd; echo "$HOME $A $GREETING"')
    assert lines == ["1000", "/srv/made", "/home/app image good day"]


async def test_images_entrypoint_stands_before_what_is_no_command(oci_world: OciWorld) -> None:
    oci_world.images.config = ImageConfig(entrypoint=("echo", "from"), command=("the", "image"))
    runtime = await oci_world.open()

    async def output(args: tuple[str, ...], command: tuple[str, ...] = ()) -> list[str]:
        spec = oci_world.shell(ONE, "", command=command)
        await runtime.create(replace(spec, argv=(*command, *args)))
        await until_exited(runtime, ONE)
        lines = await printed(runtime, ONE)
        await runtime.remove(ONE)
        return lines

    assert await output(()) == ["from the image"]
    assert await output(("me",)) == ["from me"]
    assert await output(("me",), ("echo", "only")) == ["only me"]


async def test_user_that_the_image_does_not_have_is_refused(oci_world: OciWorld) -> None:
    runtime = await oci_world.open()
    spec = oci_world.shell(ONE, "true", security=Security(user="nobody-knows"))
    with pytest.raises(errors.RuntimeError, match="user 'nobody-knows' is not in the image's"):
        await runtime.create(spec)


async def test_root_can_be_read_only(oci_world: OciWorld) -> None:
    script = "echo x > /x || echo refused; echo x > /etc/hosts || echo refused; echo x > /dev/shm/x"
    lines = await said(oci_world, script, security=Security(read_only_root=True))
    assert lines.count("refused") == 2


async def test_volumes_of_the_image_are_writable_over_a_read_only_root(
    oci_world: OciWorld,
) -> None:
    oci_world.images.config = ImageConfig(volumes=("/home",))
    script = "echo x > /home/x && cat /home/x; ls -d /home/app"
    lines = await said(oci_world, script, security=Security(read_only_root=True))
    assert lines[0] == "x"
    if oci_world.terms.runtime != "youki":  # which has no `tmpcopyup`
        assert lines[1] == "/home/app"


async def test_the_machine_is_not_to_be_seen(oci_world: OciWorld) -> None:
    script = (
        "cat /proc/keys /proc/timer_list 2>/dev/null; echo 1 2>/dev/null > /proc/sys/vm/swappiness"
        " || echo refused; ls /sys/firmware; ps | grep -c -v PID"
    )
    first, processes = await said(oci_world, script)
    assert first == "refused"
    assert int(processes) <= 4


async def test_devices_are_given_by_name(oci_world: OciWorld) -> None:
    devices = (Device("/dev/fuse", "rw"),)
    lines = await said(oci_world, "ls -l /dev/fuse; cat /dev/kmsg", devices=devices)
    assert any(line.startswith("c") and "/dev/fuse" in line for line in lines)
    runtime = await oci_world.open()
    spec = oci_world.shell(ONE, "true", devices=(Device("/dev/no-such-device"),))
    with pytest.raises(errors.RuntimeError, match="/dev/no-such-device cannot be found"):
        await runtime.create(spec)


async def test_host_name_and_hosts(oci_world: OciWorld) -> None:
    name, hosts = await said(oci_world, "hostname; grep -c web-0 /etc/hosts")
    assert (name, hosts) == ("web-0", "1")


async def test_network_may_be_the_nodes(oci_world: OciWorld) -> None:
    runtime = await oci_world.open()
    spec = oci_world.shell(ONE, "readlink /proc/self/ns/net")
    await runtime.create(_isolated(spec, network=NetworkMode.HOST))
    await until_exited(runtime, ONE)
    assert await printed(runtime, ONE) == [os.readlink("/proc/self/ns/net")]


async def test_containers_of_an_instance_share_what_they_ask_for(oci_world: OciWorld) -> None:
    runtime = await oci_world.open()
    show = "readlink /proc/self/ns/net; readlink /proc/self/ns/pid; readlink /proc/self/ns/ipc"
    main = oci_world.shell(ONE, f"{show}; echo x > /dev/shm/seen; echo up; sleep 1000")
    side = oci_world.shell(SIDE, f"{show}; cat /dev/shm/seen; echo up; sleep 1000")
    shared = (SharedNamespace.PID, SharedNamespace.IPC)
    for spec in (main, side):
        await runtime.create(replace(_isolated(spec, shared=shared), siblings=2))
        await until_printed(runtime, spec.id, "up")
    of_main, of_side = await printed(runtime, ONE), await printed(runtime, SIDE)
    assert (of_main[:3], of_side[3]) == (of_side[:3], "x")
    await runtime.stop(SIDE, 0)
    assert [each.spec.id for each in await _running(runtime)] == [ONE]
    await runtime.stop(ONE, 0)
    assert oci_world.left_over() == []


async def test_containers_of_an_instance_share_the_network_at_least(oci_world: OciWorld) -> None:
    runtime = await oci_world.open()
    show = "readlink /proc/self/ns/net; readlink /proc/self/ns/pid; echo up; sleep 1000"
    for container_id in (ONE, SIDE):
        await runtime.create(replace(oci_world.shell(container_id, show), siblings=2))
        await until_printed(runtime, container_id, "up")
    of_main, of_side = await printed(runtime, ONE), await printed(runtime, SIDE)
    assert of_main[0] == of_side[0]
    assert of_main[1] != of_side[1]


async def test_root_may_be_somebody_else_on_the_node(oci_world: OciWorld) -> None:
    if oci_world.terms.runtime == "youki":
        pytest.skip("youki 0.7 cannot look at an image's files in a user namespace")
    runtime = await oci_world.open()
    script = "id -u; stat -c %u /bin/busybox; touch /x && stat -c %u /x; echo up; sleep 1000"
    await runtime.create(_isolated(oci_world.shell(ONE, script), user_namespace=True))
    await until_printed(runtime, ONE, "up")
    assert (await printed(runtime, ONE))[:3] == ["0", "0", "0"]
    written = oci_world.root / ONE / "upper" / "x"
    assert written.stat().st_uid == oci_world.terms.user_ids_from


async def test_it_starts_where_run_is_mounted_as_systemd_does(oci_world: OciWorld) -> None:
    """What is mounted in a user namespace keeps the flags of what it came from."""
    oci_world.run_dir.mkdir()
    flags = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
    syscalls.mount("tmpfs", str(oci_world.run_dir), "tmpfs", flags, "mode=0755")
    try:
        runtime = await oci_world.open()
        spec = oci_world.shell(ONE, "cat /etc/hostname", security=Security(read_only_root=True))
        is_mapped = oci_world.terms.runtime != "youki"
        await runtime.create(_isolated(spec, user_namespace=is_mapped))
        await until_exited(runtime, ONE)
        assert await printed(runtime, ONE) == ["web-0"]
        await runtime.remove(ONE)
        await runtime.close()
    finally:
        syscalls.unmount(str(oci_world.run_dir), syscalls.MNT_DETACH)


async def test_command_beside_it_may_do_no_more_than_it(oci_world: OciWorld) -> None:
    runtime = await oci_world.open()
    await runtime.create(oci_world.spec(ONE, "run"))
    request = ExecRequest(("sh", "-c", f"{STATUS}; id -u; pwd"), user="app", working_dir="/tmp")
    streams = await runtime.exec(ONE, request)
    output = b"".join([piece async for _, piece in streams.output()]).decode().splitlines()
    assert await streams.exit_code() == 0
    await streams.close()
    found = dict(line.split(": ", 1) for line in output if ": " in line)
    assert names(found["CapBnd"]) == DEFAULT
    seccomp = "0" if oci_world.terms.runtime == "youki" else "2"  # youki 0.7 leaves it out
    assert (found["Seccomp"], found["NoNewPrivs"]) == (seccomp, "1")
    assert output[-2:] == ["1000", "/tmp"]


async def test_init_reaps_and_passes_signals_on(oci_world: OciWorld) -> None:
    """`sleep` does not handle SIGTERM: as the first process it would never hear it."""
    runtime = await oci_world.open()
    spec = oci_world.shell(ONE, "exec sleep 1000", init=True)
    with pytest.raises(errors.RuntimeError, match="--init-program"):
        await runtime.create(spec)
    program = shutil.which("tini-static") or shutil.which("catatonit")
    if program is None:
        pytest.skip("install tini: there is no static init here")
    oci_world.terms = replace(oci_world.terms, init_program=Path(program))
    runtime = await oci_world.open()
    await runtime.create(spec)
    await runtime.stop(ONE, DEADLINE_SECONDS)
    assert (await until_exited(runtime, ONE)).exit_code == 143


def _isolated(spec: ContainerSpec, **fields: Any) -> ContainerSpec:
    assert spec.isolation is not None
    return replace(spec, isolation=replace(spec.isolation, **fields))


async def _running(runtime: ContainerRuntime) -> list[Any]:
    return [each for each in await runtime.list() if each.state == "running"]
