"""`orc agent`: the agent of this node, wired together."""

from __future__ import annotations

import asyncio
import os
import random
import socket
from math import inf
from pathlib import Path

import click
import structlog
from prometheus_client import CollectorRegistry

from orchestrator.agent.agent import Agent
from orchestrator.agent.agent import AgentSettings as AgentTerms
from orchestrator.agent.home import AgentHome
from orchestrator.agent.image_routes import image_routes
from orchestrator.agent.metrics import AgentMetrics
from orchestrator.agent.node_report import NodeProfile
from orchestrator.agent.ports import PortPicker
from orchestrator.agent.routes import agent_routes
from orchestrator.agent.volume_routes import volume_routes
from orchestrator.agent.witness_routes import witness_routes
from orchestrator.cluster.connect import STORE_WAIT_SECONDS, checked, connect
from orchestrator.cluster.metrics import MirrorMetrics
from orchestrator.cluster.probes import mirror_probe, store_probe
from orchestrator.entry.containers import NodeContainers, node_containers
from orchestrator.entry.start import read_settings, run, store_address
from orchestrator.model.keys import Keys
from orchestrator.model.resources import NodeResources
from orchestrator.process.agent_settings import AgentSettings
from orchestrator.process.clock import boottime
from orchestrator.process.flags import settings_options
from orchestrator.process.health import Health, Probe
from orchestrator.process.http import new_app, serving
from orchestrator.process.machine import is_going_down
from orchestrator.process.metrics import LoopLag, new_registry
from orchestrator.process.presence import Presence
from orchestrator.runtime.watchdog_process import WatchdogProcess

log = structlog.get_logger()


@click.command("agent")
@settings_options(AgentSettings)
def agent_command(*, config: Path | None, show_config: bool, **flags: object) -> None:
    """Run the agent of this node. What it runs goes on when it ends, while the machine does."""
    settings = read_settings(AgentSettings, flags, config, show_config=show_config)
    run(settings, lambda stop: run_agent(settings, stop), role="agent", node=settings.node)


async def run_agent(settings: AgentSettings, stop: asyncio.Event) -> None:
    """Run until `stop` is set. Raises what a person must see."""
    rng = random.Random()
    address = store_address(settings)
    with AgentHome(settings.data_dir, rng) as home:
        store = connect(address, clock=boottime, rng=rng)

        async def admit(is_patient: bool) -> None:
            """Who has something to look after here waits for etcd without end."""
            for warning in await checked(
                store,
                address,
                development=settings.development,
                clock=boottime,
                rng=rng,
                wait_seconds=inf if is_patient else STORE_WAIT_SECONDS,
            ):
                log.warning(warning)

        try:
            containers = node_containers(settings, home)
            registry = new_registry("agent")
            presence = Presence(settings.node)
            agent = Agent(
                store,
                Keys(settings.root),
                containers.runtime,
                home,
                images=containers.images,
                volumes=containers.volumes,
                ports=PortPicker(settings.node, *settings.port_range),
                metrics=AgentMetrics(registry),
                settings=_terms(settings),
                clock=boottime,
                rng=rng,
                announce=presence.announce,
                watchdog=WatchdogProcess(home.path / "watchdog"),
                admit=admit,
            )
            probe = store_probe(store, settings.root)
            await _serve(
                settings,
                agent,
                containers,
                presence=presence,
                registry=registry,
                of_store=probe,
                stop=stop,
            )
        finally:
            await store.close()


async def _serve(
    settings: AgentSettings,
    agent: Agent,
    containers: NodeContainers,
    *,
    presence: Presence,
    registry: CollectorRegistry,
    of_store: Probe,
    stop: asyncio.Event,
) -> None:
    MirrorMetrics(registry, agent.mirror, boottime)
    ready = {
        "store": of_store,
        "mirror": mirror_probe(agent.mirror, boottime),
        "session": _session_probe(agent),
    }
    app = new_app(settings, registry, Health(ready=ready))
    app.add_routes(agent_routes(settings.node, containers.runtime))
    app.add_routes(image_routes(settings.node, containers.images))
    app.add_routes(volume_routes(agent.volume_rows))
    app.add_routes(witness_routes())
    presence.mount(app)
    async with serving(app, settings), asyncio.TaskGroup() as tasks:
        log.info("serving", url=settings.url)
        lag = tasks.create_task(LoopLag(registry, boottime).run())
        await agent.run(stop)
        lag.cancel()


def _session_probe(agent: Agent) -> Probe:
    async def probe() -> str | None:
        return None if agent.is_registered else "this node has no live session in the cluster"

    return probe


def _terms(settings: AgentSettings) -> AgentTerms:
    async def stops_instances_on_exit() -> bool:
        return settings.stop_instances_on_exit or await is_going_down()

    return AgentTerms(
        node=settings.node,
        profile=_profile(settings),
        hostname=socket.gethostname(),
        pid=os.getpid(),
        lease_ttl_seconds=settings.lease_ttl_seconds,
        accepts_store=settings.accept_store,
        stops_instances_on_exit=stops_instances_on_exit,
    )


def _profile(settings: AgentSettings) -> NodeProfile:
    return NodeProfile(
        address=settings.url,
        labels=settings.labels,
        reserved=NodeResources(
            cpu_cores=settings.reserved_cpu_cores,
            memory_mb=settings.reserved_memory_mb,
            disk_mb=settings.reserved_disk_mb,
            custom=settings.reserved_resources,
        ),
        gpus=settings.gpus,
        resources=settings.resources,
        allowed_binds=tuple(map(str, settings.allow_bind)),
        allows_privileged=settings.allow_privileged,
    )
