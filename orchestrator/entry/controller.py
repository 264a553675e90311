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
from orchestrator.cluster.probes import layout_probe, mirror_probe, store_probe
from orchestrator.cluster.view import ClusterView
from orchestrator.controller.leader import LeaderLoop, LeaderSettings
from orchestrator.controller.metrics import LeaderMetrics
from orchestrator.controller.node_vigils import NodeVigils
from orchestrator.controller.peers import ConnectedPeers
from orchestrator.controller.plugins import load_filters, load_scores
from orchestrator.controller.reconciler import ReconcileSettings
from orchestrator.entry.start import read_settings, run, store_address
from orchestrator.entry.upkeep import care_for
from orchestrator.model.keys import Keys
from orchestrator.model.node import Leader
from orchestrator.process.client import client_session
from orchestrator.process.clock import boottime
from orchestrator.process.collector import set_survivors_aside, sweep_now_and_then
from orchestrator.process.flags import settings_options
from orchestrator.process.health import Health
from orchestrator.process.http import new_app, serving
from orchestrator.process.metrics import LoopLag, new_registry
from orchestrator.process.presence import Presence
from orchestrator.process.shutdown import run_until
from orchestrator.process.upkeep_settings import ReplicaSettings
from orchestrator.scheduler.protocol import Scheduler
from orchestrator.scheduler.simple import SimpleScheduler
from orchestrator.scheduler.vector import VectorScheduler

log = structlog.get_logger()


@click.command("controller")
@settings_options(ReplicaSettings)
def controller_command(*, config: Path | None, show_config: bool, **flags: object) -> None:
    """Run a controller replica: the API, and the leader when it is elected."""
    settings = read_settings(ReplicaSettings, flags, config, show_config=show_config)
    run(
        settings,
        lambda stop: _until_stopped(settings, stop),
        role="controller",
        replica=settings.replica,
    )


async def _until_stopped(settings: ReplicaSettings, stop: asyncio.Event) -> None:
    await run_until(stop, run_controller(settings))


async def run_controller(settings: ReplicaSettings) -> None:
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
    settings: ReplicaSettings, view: ClusterView, rng: random.Random, warnings: list[str]
) -> None:
    registry = new_registry("controller")
    MirrorMetrics(registry, view.mirror, boottime)
    care = care_for(settings, view, registry, rng)
    events = EventLog(
        view.store,
        view.keys,
        by=settings.replica,
        wall_clock=time.time,
        rng=rng,
        is_thinned=care.space.thins_events,
    )
    scheduler = scheduler_of(settings)
    app = new_app(settings, registry, _health(settings, view))
    presence = Presence(settings.replica)
    presence.mount(app)
    async with (
        client_session(settings) as agents,
        client_session(settings, max_connections=0) as held,
    ):
        leader = LeaderLoop(
            view,
            scheduler,
            events,
            LeaderMetrics(registry),
            identity=Leader(settings.replica, settings.url, os.getpid()),
            rng=rng,
            settings=_leader_settings(settings),
            peers=ConnectedPeers(presence, held, rng=rng),
            nodes=NodeVigils(view, held, replica=settings.replica, rng=rng),
            upkeep=care.upkeep,
        )
        writer = DesiredWriter(view, events, rng=rng, why_not_grow=care.space.refusal)
        api = Api(
            view,
            writer,
            agents,
            settings.replica,
            settings.url,
            scheduler,
            lambda: (*warnings, *care.space.warnings()),
            settings.mass_loss_fraction,
        )
        mount_api(app, api)
        async with serving(app, settings), asyncio.TaskGroup() as tasks:
            log.info("serving", url=settings.url)
            tasks.create_task(view.run())
            tasks.create_task(leader.run())
            tasks.create_task(care.space.run())
            tasks.create_task(LoopLag(registry, boottime).run())
            tasks.create_task(sweep_now_and_then())
            if rebalancer := _rebalancer(settings, api):
                tasks.create_task(rebalancer.run())


def _health(settings: ReplicaSettings, view: ClusterView) -> Health:
    return Health(
        ready={
            "store": store_probe(view.store, settings.root),
            "mirror": mirror_probe(view.mirror, boottime),
            "layout": layout_probe(lambda: view.state.refusal),
        }
    )


def _rebalancer(settings: ReplicaSettings, api: Api) -> Rebalancer | None:
    if settings.rebalance_target_percent is None:
        return None
    target = round(10 * settings.rebalance_target_percent)
    return Rebalancer(api, target=target, max_moves=settings.rebalance_max_moves)


def scheduler_of(settings: ReplicaSettings) -> Scheduler:
    """Raises `ConfigError` for plug-ins that are not there."""
    if settings.scheduler == "simple":
        return SimpleScheduler()
    return VectorScheduler(
        settings.placement_strategy,
        settings.gpu_policy,
        load_filters(settings.filter_plugins, boottime),
        load_scores(settings.score_plugins, boottime),
    )


def _leader_settings(settings: ReplicaSettings) -> LeaderSettings:
    return LeaderSettings(
        settings.lease_ttl_seconds,
        ReconcileSettings(
            full_pass_seconds=settings.full_pass_seconds,
            mass_loss_fraction=settings.mass_loss_fraction,
        ),
    )
