"""The seccomp filter that crun compiles for one container, in others that have the same."""

from __future__ import annotations

import json

from orchestrator.runtime.oci.compiled_seccomp import ANNOTATION, COMPILED
from tests.support.containers import until_exited
from tests.support.oci import OciWorld, printed

SCRIPT = "sleep 0.1; grep Seccomp: /proc/self/status; unshare -m id"


async def test_filter_that_was_compiled_for_another_container_is_the_same(
    oci_world: OciWorld,
) -> None:
    runtime = await oci_world.open()
    compiled, annotated = [], []
    for number in range(2):
        container_id = f"default.web.{number}.1.main"
        await runtime.create(oci_world.shell(container_id, SCRIPT))
        state = oci_world.run_dir / oci_world.terms.runtime / container_id
        compiled.append((state / COMPILED).read_bytes())
        config = json.loads((oci_world.place(container_id).run / "config.json").read_text())
        annotated.append(ANNOTATION in config["annotations"])
        assert config["linux"]["seccomp"]
        await until_exited(runtime, container_id)
        assert await printed(runtime, container_id) == [
            "Seccomp:\t2",
            "unshare: unshare(0x20000): Operation not permitted",
        ]
    assert annotated == [False, True]
    assert compiled[0] == compiled[1]
