"""Instances that cannot start, as people meet them: a clear reason wherever they ask, bounded
damage, nothing left behind, and a node that serves all others."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.model.workload import WorkloadDefinition
from tests.support.container_cluster import (
    ContainerCluster,
    container_cluster,
    image_workload,
    on_node,
    serves,
    until_orc_tells,
    until_told,
)
from tests.support.hostile_registry import Fault, HostileRegistry, hostile_registry
from tests.support.images import build
from tests.support.layers import character_device, file, layer
from tests.support.operator import Operator, operating, until
from tests.support.orc_process import run_orc_process
from tests.support.ports import free_port

MEGABYTE = 1_000_000
SOUND, FULL, NARROW, HANGING = "n1", "n2", "n3", "n4"
"""A node without troubles, one with a small disk, with few addresses, and with a bad plugin."""

PLUGINS = Path("/usr/lib/cni")
HANGS = """#!/bin/sh
[ $CNI_COMMAND = ADD ] && rm {marker} 2>/dev/null && sleep 1000
exit 0
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("troubles")


@pytest.fixture(scope="module")
def made(path: Path) -> Iterator[ContainerCluster]:
    with small_disk(path / "disk") as disk:
        node_flags = {
            FULL: [f"--data-dir={disk}/{FULL}"],
            NARROW: ["--pod-cidr=10.118.48.0/29"],
            HANGING: list(bad_plugin(path)),
        }
        with container_cluster(path / "cluster", agents=4, node_flags=node_flags) as made:
            yield made


@contextmanager
def small_disk(path: Path) -> Iterator[Path]:
    """With little more than what agents leave free."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a disk")
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300m", "none", path], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", path], check=True)


def bad_plugin(path: Path) -> Iterator[str]:
    """The flags for a list with a plugin that hangs once if there is a file `hang`."""
    directory = path / "cni"
    directory.mkdir()
    for each in PLUGINS.iterdir():
        (directory / each.name).symlink_to(each)
    program = directory / "dawdle"
    program.write_text(HANGS.format(marker=path / "hang"))
    program.chmod(0o755)
    ranges = [[{"subnet": "10.119.0.0/24"}]]
    ipam = {"type": "host-local", "dataDir": str(path / "book"), "ranges": ranges}
    plugins = [{"type": "bridge", "bridge": "theirs0", "ipam": ipam}, {"type": "dawdle"}]
    document = {"cniVersion": "1.0.0", "name": "theirs", "plugins": plugins}
    (path / "theirs.conflist").write_text(json.dumps(document))
    yield f"--cni-config={path / 'theirs.conflist'}"
    yield f"--cni-bin-dir={directory}"


@pytest.fixture
async def operator(made: ContainerCluster) -> AsyncIterator[Operator]:
    """Nothing of the test's workloads is left at its end."""
    async with operating(made.cluster.client()) as operator:
        yield operator
        for each in (await operator.api.workloads()).items:
            await operator.delete(each.name)
        assert made.remains() == []


@asynccontextmanager
async def bad_registry(
    made: ContainerCluster, path: Path, fault: Fault
) -> AsyncIterator[HostileRegistry]:
    """One that this cluster's nodes may speak to without TLS."""
    directory = path / fault.name
    directory.mkdir()
    async with hostile_registry(made.layout, directory) as registry:
        registry.fault = fault
        with made.registry.conf.open("a") as conf:
            conf.write((directory / "hostile.conf").read_text())
        yield registry


def of_image(name: str, image: str, *args: str, node: str = SOUND) -> WorkloadDefinition:
    return on_node(image_workload(name, image, *args), node)


async def test_an_image_that_does_not_exist(made: ContainerCluster, operator: Operator) -> None:
    await operator.apply(of_image("lost", made.registry.name("nowhere:7")))
    await operator.apply(of_image("untagged", made.image.removesuffix(":1") + ":2"))
    await until_told(operator, "untagged", "^cannot look up image .*app:2: .*unknown")
    await until_orc_tells(made, operator, "lost", "cannot look up image .*nowhere:7: .*unknown")


async def test_registries_that_are_down_broken_or_lie(
    made: ContainerCluster, operator: Operator, tmp_path: Path
) -> None:
    reasons = {
        Fault.OTHER_MANIFEST: "the registry lies: asked for sha256:",
        Fault.OTHER_BLOB: "Digest did not match",
        Fault.CUT: "unexpected EOF",
        Fault.BROKEN: "500 Internal Server Error",
    }
    async with AsyncExitStack() as registries:
        for number, fault in enumerate(reasons):
            registry = await registries.enter_async_context(bad_registry(made, tmp_path, fault))
            content = layer(file("etc/noise", os.urandom(2000)))
            source = build(made.layout, f"ill{number}", layers=[content])
            await operator.apply(of_image(f"ill{number}", registry.pinned(source)))
        for number, reason in enumerate(reasons.values()):
            await until_told(operator, f"ill{number}", f"^cannot pull image .*: .*{reason}")
    await operator.apply(of_image("down", f"127.0.0.1:{free_port()}/app:1"))
    await until_told(operator, "down", "^cannot look up image .* connection refused")
    await serves(made, operator, SOUND)


async def test_a_registry_that_gets_well_again(
    made: ContainerCluster, operator: Operator, tmp_path: Path
) -> None:
    content = layer(file("etc/noise", os.urandom(2000)))
    source = build(made.layout, "ill", layers=[content], command=("sleep", "100000"))
    async with bad_registry(made, tmp_path, Fault.CUT) as registry:
        await operator.apply(of_image("ill", registry.pinned(source)))
        await until_told(operator, "ill", "unexpected EOF")
        registry.fault = Fault.NONE
        await operator.running("ill", 1)


@pytest.mark.parametrize(
    ("fault", "progress"),
    [
        (Fault.SILENT, "looking up image 127.0.0.1:.*/lib/app:1"),
        (Fault.STALLED, r"pulling 127.0.0.1:.*/lib/app@sha256:.*: [\d.]+ of [\d.]+ MB"),
    ],
)
async def test_a_slow_registry_is_shown_and_holds_up_no_deletion(
    made: ContainerCluster, operator: Operator, tmp_path: Path, fault: Fault, progress: str
) -> None:
    content = layer(file("etc/noise", os.urandom(MEGABYTE)))
    source = build(made.layout, "slow", layers=[content])
    async with bad_registry(made, tmp_path, fault) as registry:
        tag = f"{registry.host}/lib/app:1"
        image = registry.pinned(source) if fault is Fault.STALLED else tag
        await operator.apply(of_image("slow", image))
        await until_told(operator, "slow", progress)
        await serves(made, operator, SOUND)
        async with asyncio.timeout(15):  # the registry would be given up after 30 seconds
            await operator.delete("slow")


async def test_layers_that_nobody_should_make(made: ContainerCluster, operator: Operator) -> None:
    devices = (character_device(f"d{number}", 1, 3) for number in range(1001))
    traps = {
        "out": (layer(file("../../outside")), "has a member '../../outside' that leads out of it"),
        "bomb": (layer(*devices), "has more than 1000 devices"),
    }
    for name, (bad, _) in traps.items():
        source = build(made.layout, name, layers=[bad])
        await operator.apply(of_image(name, made.registry.push(source, f"{name}:1")))
    for name, (_, reason) in traps.items():
        await until_told(operator, name, f"cannot pull image .* its layer .*{reason}")
    await serves(made, operator, SOUND)
    left = [*made.cluster.data_dir(SOUND).rglob("outside"), *made.layout.parent.glob("outside")]
    assert left == []


async def test_entrypoints_that_are_missing_or_cannot_be_run(
    made: ContainerCluster, operator: Operator
) -> None:
    reasons = {
        "/no/such": "is not found in its image",
        "nosuch": "is not found on the PATH of its image",
        "/etc/passwd": "is not executable",
        "/etc/noise": "(is neither a program for this machine nor a script|.*Exec format error)",
    }
    noise = layer(file("etc/noise", b"\x7fnoise" * 100, 0o755))
    for number, command in enumerate(reasons):
        name = f"entry{number}"
        source = build(made.layout, name, layers=[noise], entrypoint=(command,))
        await operator.apply(of_image(name, made.registry.push(source, f"{name}:1")))
    for number, (command, reason) in enumerate(reasons.items()):
        await until_told(operator, f"entry{number}", f"{command}.*{reason}")
    await serves(made, operator, SOUND)


async def test_a_disk_that_is_full_while_an_image_is_unpacked(
    made: ContainerCluster, operator: Operator, path: Path
) -> None:
    zeros = layer(file("zeros", bytes(80 * MEGABYTE)))
    source = build(made.layout, "large", layers=[zeros])
    before = shutil.disk_usage(path / "disk").used
    await operator.apply(of_image("large", made.registry.push(source, "large:1"), node=FULL))
    room = "does not fit on this node's disk: make room, as with `orc image prune`"
    await until_told(operator, "large", f"cannot pull image .* {room}")
    await serves(made, operator, FULL)
    await operator.delete("large")
    assert shutil.disk_usage(path / "disk").used < before + 20 * MEGABYTE


async def test_more_instances_than_addresses(made: ContainerCluster, operator: Operator) -> None:
    await operator.apply(replace(of_image("many", made.image, node=NARROW), replicas=7))
    room = (
        "10.118.48.0/29, the range of this node, has no address left for default.many.*--pod-cidr"
    )
    await until_told(operator, "many", room)

    async def run(count: int) -> bool:
        return (await operator.workload("many")).status.running == count

    await until(lambda: run(5))
    await serves(made, operator, NARROW)
    await operator.scale("many", 5)
    await operator.running("many", 5)


async def test_a_plugin_that_hangs(made: ContainerCluster, operator: Operator, path: Path) -> None:
    (path / "hang").touch()
    await operator.apply(of_image("cut-off", made.image, node=HANGING))
    await serves(made, operator, HANGING)  # on its host's network
    hung = "the CNI plugin dawdle has not finished ADD within 30 seconds and was killed"
    await operator.running("cut-off", 1, lambda found: found[0].attempt == 2)
    assert any(hung in each.reason for each in await operator.events("default.cut-off.0.2"))
    await operator.delete("cut-off")
    assert [each.name for each in (path / "book" / "theirs").glob("10.*")] == []


async def test_an_agent_without_its_programs_says_which_one_it_misses(
    made: ContainerCluster, path: Path, tmp_path: Path
) -> None:
    theirs = path / "theirs.conflist"
    stranger = tmp_path / "stranger"
    stranger.write_text("#!/bin/sh\necho 'stranger 9.1, under the GNU GPL version 3 or later'\n")
    stranger.chmod(0o755)
    crun = shutil.which("crun")
    wrong = {
        "--oci-runtime=/no/such": "error: the OCI runtime '/no/such' is not there",
        f"--oci-runtime={stranger}": f"error: {stranger} does not work as the OCI runtime",
        "--conmon=/no/such": "error: conmon '/no/such' is not there",
        f"--conmon={stranger}": f"error: {stranger} does not work as conmon",
        f"--conmon={crun}": f"error: {crun} is no conmon, but says that it is crun",
        "--skopeo=/no/such": "error: there is no '/no/such' to pull images with",
        f"--cni-config={theirs} --cni-bin-dir=/no": "error: there is no CNI plugin bridge in /no",
        "--bridge=orct1": "error: another agent on this machine has the bridge orct1",
    }

    def started(number: int, flags: str) -> str:
        own = (f"--node=other{number}", f"--data-dir={tmp_path / str(number)}", "--bridge=orct9")
        run_dir = f"--run-dir=/run/{made.mark}/other{number}"
        etcd = f"--etcd-endpoints={made.cluster.etcd.endpoints[0]}"
        bind = f"--bind=127.0.0.1:{free_port()}"
        said = run_orc_process(
            "agent", etcd, bind, *own, run_dir, "--oci-runtime=crun", *flags.split()
        )
        assert said.returncode == 1, said.stderr
        return said.stderr.splitlines()[-1]

    for number, (flags, sentence) in enumerate(wrong.items()):
        assert (await asyncio.to_thread(started, number, flags)).startswith(sentence)
