"""The programs of a local cluster: who is started, with which flags."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import orchestrator
from orchestrator.local.child import Program
from orchestrator.local.data_dir import DataDir
from orchestrator.local.etcd import EtcdProgram, etcd_command
from orchestrator.local.ports import PortPlan

PASSED_ON = ("ORC_LOG_LEVEL", "ORC_LOG_FORMAT", "ORC_ROOT", "ORC_SCHEDULER")
"""Settings of the user's own environment that hold here too; the others are meant for `orc`
itself, or would undo what the flags below say."""
PASSED_ON_WITH_ETCD = ("ORC_ETCD_CA_FILE", "ORC_ETCD_CERT_FILE", "ORC_ETCD_KEY_FILE")

SOURCE = Path(orchestrator.__file__).parent.parent
"""Where the children find this same package, even where it is not installed."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What `orc up` was asked for. `etcd` is None when `etcd_endpoints` are somebody else's."""

    data_dir: DataDir
    plan: PortPlan
    etcd: EtcdProgram | None
    etcd_endpoints: tuple[str, ...]

    @property
    def servers(self) -> tuple[str, ...]:
        return tuple(f"http://{self.plan.controller(i)}" for i in range(self.plan.controllers))

    @property
    def agents(self) -> tuple[str, ...]:
        return tuple(f"http://{self.plan.agent(i)}" for i in range(self.plan.agents))

    def etcd_members(self) -> list[Program]:
        if self.etcd is None:
            return []
        return [self._etcd(self.etcd, index) for index in range(self.plan.etcd_members)]

    def controllers(self) -> list[Program]:
        return [self._controller(index) for index in range(self.plan.controllers)]

    def node_agents(self) -> list[Program]:
        return [self._agent(index) for index in range(self.plan.agents)]

    def _etcd(self, program: EtcdProgram, index: int) -> Program:
        name, address = f"e{index + 1}", self.plan.etcd_client(index)
        return Program(
            "etcd",
            name,
            etcd_command(program, self.data_dir, self.plan, index),
            _environment(("ETCD_UNSUPPORTED_ARCH",)),
            self.data_dir.turn_log(name),
            address.port,
            f"http://{address}/health",
        )

    def _controller(self, index: int) -> Program:
        name, address = f"c{index + 1}", self.plan.controller(index)
        flags = (f"--replica={name}", f"--bind={address}")
        return self._ours("controller", name, address.port, flags)

    def _agent(self, index: int) -> Program:
        name, address = f"n{index + 1}", self.plan.agent(index)
        flags = (
            f"--node={name}",
            f"--bind={address}",
            f"--data-dir={self.data_dir.agent(name)}",
            f"--port-range={self.plan.instances(index)}",
            "--oci-runtime=none",  # three nodes on one machine would meet in its network
            "--stop-instances-on-exit",
        )
        return self._ours("agent", name, address.port, flags)

    def _ours(self, role: str, name: str, port: int, flags: Sequence[str]) -> Program:
        etcd = ",".join(self.etcd_endpoints)
        passed = PASSED_ON if self.etcd else (*PASSED_ON, *PASSED_ON_WITH_ETCD)
        return Program(
            role,
            name,
            (*orc_command(), role, f"--etcd-endpoints={etcd}", "--development", *flags),
            _environment(passed),
            self.data_dir.turn_log(name),
            port,
            f"http://127.0.0.1:{port}/readyz",
        )


def orc_command() -> tuple[str, ...]:
    """`orc`, as a new process of this same Python. -P: what lies in the user's directory is not
    to be imported."""
    return (sys.executable, "-P", "-m", "orchestrator.entry.main")


def own_environment() -> dict[str, str]:
    """The environment in which `orc_command` finds its package."""
    paths = (str(SOURCE), os.environ.get("PYTHONPATH", ""))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def _environment(passed: Iterable[str]) -> dict[str, str]:
    return {
        name: value
        for name, value in own_environment().items()
        if not name.startswith(("ORC_", "ETCD_")) or name in passed
    }
