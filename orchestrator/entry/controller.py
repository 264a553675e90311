"""`orc controller`: a replica of the control plane, wired together.

Every replica mirrors the store and serves the API; the one that is elected also leads.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from pathlib import Path

import click
import structlog

from orchestrator.api.context import Api
from orchestrator.api.rebalancer import Rebalancer
from orchestrator.api.routes import mount_api
from orchestrator.api.writer import DesiredWriter
from orchestrator.cluster.connect import open_store
from orchestrator.cluster.events import EventLog
from orchestrator.cluster.metrics import MirrorMetrics
from orchestrator.cluster.probes import mirror_probe, store_probe
from orchestrator.cluster.view import ClusterView
from orchestrator.controller.leader import LeaderLoop, LeaderSettings
from orchestrator.controller.metrics import LeaderMetrics
from orchestrator.controller.plugins import load_filters, load_scores
from orchestrator.controller.reconciler import ReconcileSettings
from orchestrator.entry.start import read_settings, run, store_address
from orchestrator.model.keys import Keys
from orchestrator.model.node import Leader
from orchestrator.process.client import client_session
from orchestrator.process.clock import boottime
from orchestrator.process.collector import set_survivors_aside, sweep_now_and_then
from orchestrator.process.flags import settings_options
from orchestrator.process.health import Health
from orchestrator.process.http import new_app, serving
from orchestrator.process.metrics import LoopLag, new_registry
from orchestrator.process.settings import ControllerSettings
from orchestrator.process.shutdown import run_until
from orchestrator.scheduler.protocol import Scheduler
from orchestrator.scheduler.simple import SimpleScheduler
from orchestrator.scheduler.vector import VectorScheduler

log = structlog.get_logger()


@click.command("controller")
@settings_options(ControllerSettings)
def controller_command(*, config: Path | None, show_config: bool, **flags: object) -> None:
    """Run a controller replica: the API, and the leader when it is elected."""
    settings = read_settings(ControllerSettings, flags, config, show_config=show_config)
    run(
        settings,
        lambda stop: _until_stopped(settings, stop),
        role="controller",
        replica=settings.replica,
    )


async def _until_stopped(settings: ControllerSettings, stop: asyncio.Event) -> None:
    await run_until(stop, run_controller(settings))


async def run_controller(settings: ControllerSettings) -> None:
    """Run until cancelled: a leader resigns then. Raises what ends a replica for good."""
    set_survivors_aside()
    rng = random.Random()
    store, warnings = await open_store(
        store_address(settings), development=settings.development, clock=boottime, rng=rng
    )
    for warning in warnings:
        log.warning(warning)
    try:
        view = ClusterView(store, Keys(settings.root), clock=boottime, rng=rng)
        await _serve(settings, view, rng, warnings)
    finally:
        await store.close()


async def _serve(
    settings: ControllerSettings, view: ClusterView, rng: random.Random, warnings: list[str]
) -> None:
    registry = new_registry("controller")
    MirrorMetrics(registry, view.mirror, boottime)
    events = EventLog(view.store, view.keys, by=settings.replica, wall_clock=time.time, rng=rng)
    scheduler = scheduler_of(settings)
    leader = LeaderLoop(
        view,
        scheduler,
        events,
        LeaderMetrics(registry),
        identity=Leader(settings.replica, settings.url, os.getpid()),
        rng=rng,
        settings=_leader_settings(settings),
    )
    health = Health(
        ready={
            "store": store_probe(view.store, settings.root),
            "mirror": mirror_probe(view.mirror, boottime),
        }
    )
    app = new_app(settings, registry, health)
    async with client_session(settings) as agents:
        writer = DesiredWriter(view, events, rng=rng)
        api = Api(
            view,
            writer,
            agents,
            settings.replica,
            settings.url,
            scheduler,
            lambda: warnings,
            settings.mass_loss_fraction,
        )
        mount_api(app, api)
        async with serving(app, settings), asyncio.TaskGroup() as tasks:
            log.info("serving", url=settings.url)
            tasks.create_task(view.run())
            tasks.create_task(leader.run())
            tasks.create_task(LoopLag(registry, boottime).run())
            tasks.create_task(sweep_now_and_then())
            if settings.rebalance_target_percent is not None:
                target = round(10 * settings.rebalance_target_percent)
                balancing = Rebalancer(api, target=target, max_moves=settings.rebalance_max_moves)
                tasks.create_task(balancing.run())


def scheduler_of(settings: ControllerSettings) -> Scheduler:
    """Raises `ConfigError` for plug-ins that are not there."""
    if settings.scheduler == "simple":
        return SimpleScheduler()
    return VectorScheduler(
        settings.placement_strategy,
        settings.gpu_policy,
        load_filters(settings.filter_plugins, boottime),
        load_scores(settings.score_plugins, boottime),
    )


def _leader_settings(settings: ControllerSettings) -> LeaderSettings:
    return LeaderSettings(
        settings.lease_ttl_seconds,
        ReconcileSettings(
            full_pass_seconds=settings.full_pass_seconds,
            mass_loss_fraction=settings.mass_loss_fraction,
        ),
    )
