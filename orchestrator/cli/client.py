"""`ApiClient`: the HTTP API as methods, with values in and values out.

It remembers the revision of its last write and asks every read to be at least as new, so that
a write through one server is seen by the next read through another.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import asdict
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

from orchestrator.cli.answers import Listing, WatchEvent, read, read_event, read_listing
from orchestrator.cli.conversation import Conversation
from orchestrator.cli.errors import NotFound
from orchestrator.cli.transport import Patience, Transport
from orchestrator.model.answers import ClusterSummary, LogEntry, Why, Written
from orchestrator.model.forecast import CriticalNode, Forecast
from orchestrator.model.manifest import to_document
from orchestrator.model.moves import MovesWritten, PlannedMove, Rebalance
from orchestrator.model.node import Availability, Event
from orchestrator.model.placement import Taint
from orchestrator.model.stored_image import DeletedImages, PullLine, StoredImage
from orchestrator.model.usage import NodeUsage
from orchestrator.model.views import Node, Workload, WorkloadInstance
from orchestrator.model.volume import ListedVolume
from orchestrator.model.workload import WorkloadDefinition, WorkloadKey

T = TypeVar("T")

FORMS: Mapping[str, type[Any]] = {
    "workloads": Workload,
    "instances": WorkloadInstance,
    "nodes": Node,
    "events": Event,
}
"""What a listing or a watch of each kind holds."""


class ApiClient:
    """Open it with `async with`. Every method raises `ServerUnreachable`, `Refused` and its
    kinds, or `Misunderstood` (see cli.errors)."""

    def __init__(
        self,
        servers: Sequence[str],
        *,
        token: str = "",
        tls: ssl.SSLContext | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._transport = Transport(servers, token=token, tls=tls, patience=patience)
        self._written_revision = 0

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._transport.__aexit__(kind, error, trace)

    async def workloads(self, namespace: str | None = None) -> Listing[Workload]:
        return await self._list(Workload, "/v1/workloads", namespace=namespace)

    async def workload(self, key: WorkloadKey) -> Workload:
        return await self._get(Workload, _workload_path(key))

    async def instances(
        self,
        *,
        namespace: str | None = None,
        workload: str | None = None,
        node: str | None = None,
    ) -> Listing[WorkloadInstance]:
        return await self._list(
            WorkloadInstance,
            "/v1/instances",
            namespace=namespace,
            workload=workload,
            node=node,
        )

    async def instance(self, name: str) -> WorkloadInstance:
        return await self._get(WorkloadInstance, f"/v1/instances/{_part(name)}")

    async def why_workload(self, key: WorkloadKey) -> Why:
        return await self._get(Why, f"{_workload_path(key)}/why")

    async def why_instance(self, name: str) -> Why:
        """Also of one that is gone, as long as anything is known of it."""
        return await self._get(Why, f"/v1/instances/{_part(name)}/why")

    async def nodes(self) -> Listing[Node]:
        return await self._list(Node, "/v1/nodes")

    async def node(self, name: str) -> Node:
        return await self._get(Node, f"/v1/nodes/{_part(name)}")

    async def events(
        self,
        *,
        namespace: str | None = None,
        subject: str | None = None,
        limit: int | None = None,
    ) -> Listing[Event]:
        return await self._list(
            Event, "/v1/events", namespace=namespace, subject=subject, limit=limit
        )

    async def volumes(
        self,
        *,
        namespace: str | None = None,
        workload: str | None = None,
        node: str | None = None,
        with_sizes: bool = False,
    ) -> Listing[ListedVolume]:
        return await self._list(
            ListedVolume,
            "/v1/volumes",
            namespace=namespace,
            workload=workload,
            node=node,
            sizes="true" if with_sizes else None,
        )

    async def delete_volume(self, node: str, name: str) -> Written:
        """With its data."""
        return await self._write("DELETE", f"/v1/nodes/{_part(node)}/volumes/{_part(name)}")

    async def images(self, node: str) -> Listing[StoredImage]:
        return await self._list(StoredImage, _images_path(node))

    async def pull_image(self, node: str, image: str) -> AsyncGenerator[PullLine, None]:
        """How far it is, and how it went. Whoever stops reading gives it up."""
        stream = self._transport.stream(
            _images_path(node), query={"image": image}, may_be_silent=True, method="POST"
        )
        async with aclosing(stream) as lines:
            async for line in lines:
                yield read(PullLine, line)

    async def remove_image(self, node: str, image: str) -> DeletedImages:
        answer = await self._think("DELETE", _images_path(node), {"image": image})
        return read(DeletedImages, answer or {"node": node, "images": (), "freed_bytes": 0})

    async def prune_images(self, node: str) -> DeletedImages:
        return read(DeletedImages, await self._think("POST", f"{_images_path(node)}/prune", {}))

    @property
    def servers(self) -> tuple[str, ...]:
        return self._transport.servers

    async def cluster(self, server: str | None = None) -> ClusterSummary:
        """The cluster as one replica sees it: whichever answers, or the one of `server`."""
        answer = await self._transport.send("GET", "/v1/cluster", only=server)
        return read(ClusterSummary, answer)

    async def apply(self, definition: WorkloadDefinition, *, dry_run: bool = False) -> Written:
        """Make it so that the workload is as defined; a dry run only says what that would do."""
        return await self._write(
            "PUT",
            _workload_path(definition.key),
            body=to_document(definition),
            dry_run="true" if dry_run else None,
        )

    async def scale(self, key: WorkloadKey, replicas: int) -> Written:
        return await self._write("PUT", f"{_workload_path(key)}/scale", body={"replicas": replicas})

    async def delete_workload(self, key: WorkloadKey) -> Written:
        return await self._write("DELETE", _workload_path(key))

    async def set_availability(self, node: str, availability: Availability) -> Written:
        return await self._patch_node(node, availability=availability.value)

    async def taint(
        self, node: str, taints: Sequence[Taint], removed: Sequence[str] = ()
    ) -> Written:
        """Taint it, each in the place of one of the same key and effect, and take away those
        that a `key` or `key:Effect` of `removed` names."""
        added = [
            {"key": each.key, "value": each.value, "effect": each.effect.value} for each in taints
        ]
        return await self._patch_node(node, taints=added, remove_taints=list(removed))

    async def declare_lost(self, node: str, *, is_lost: bool = True) -> Written:
        """Record a person's word that nothing runs there any more, or take it back."""
        return await self._patch_node(node, is_declared_lost=is_lost)

    async def delete_node(self, node: str) -> Written:
        return await self._write("DELETE", f"/v1/nodes/{_part(node)}")

    async def move(self, instance: str, to: str = "") -> Written:
        """Have it leave its node for `to`, or for the best one."""
        return await self._write("PUT", _move_path(instance), body={"to": to})

    async def stay(self, instance: str) -> Written:
        return await self._write("DELETE", _move_path(instance))

    async def plan_rebalance(self, target_percent: float, max_moves: int) -> Rebalance:
        query = _query(
            target_percent=f"{target_percent:g}", max_moves=max_moves, **self._not_older()
        )
        return read(Rebalance, await self._think("GET", "/v1/rebalance", query))

    async def write_moves(self, moves: Sequence[PlannedMove]) -> MovesWritten:
        body = {"moves": [asdict(each) for each in moves]}
        answer = read(MovesWritten, await self._transport.send("POST", "/v1/moves", body=body))
        self._written_revision = max(self._written_revision, answer.revision)
        return answer

    async def what_if(self, changes: Sequence[Mapping[str, Any]]) -> Forecast:
        """`changes` are written as the API takes them."""
        query, body = _query(**self._not_older()), {"changes": list(changes)}
        return read(Forecast, await self._think("POST", "/v1/whatif", query, body))

    async def critical_nodes(self) -> Listing[CriticalNode]:
        query = _query(**self._not_older())
        return read_listing(CriticalNode, await self._think("GET", "/v1/critical-nodes", query))

    async def _think(
        self, method: str, path: str, query: Mapping[str, str], body: object = None
    ) -> object:
        return await self._transport.send(method, path, query=query, body=body, is_thought=True)

    async def logs(
        self,
        of: WorkloadKey | str,
        *,
        container: str | None = None,
        follow: bool = False,
        tail: int | None = None,
        since: float | None = None,
        previous: bool = False,
    ) -> AsyncGenerator[LogEntry, None]:
        """Lines of a workload's instances, or of the instance of that name; `since` is in seconds
        since 1970, and `previous` means the attempts before them."""
        path = f"/v1/instances/{_part(of)}" if isinstance(of, str) else _workload_path(of)
        query = _query(
            container=container,
            follow="true" if follow else None,
            tail=tail,
            since=None if since is None else repr(since),
            previous="true" if previous else None,
        )
        stream = self._transport.stream(f"{path}/logs", query=query, may_be_silent=True)
        async with aclosing(stream) as lines:
            async for line in lines:
                yield read(LogEntry, line)

    @asynccontextmanager
    async def execute(
        self, instance: str, request: Mapping[str, Any], container: str | None = None
    ) -> AsyncIterator[Conversation]:
        """With a command in a container of an instance. It is killed when the body is left."""
        path = f"/v1/instances/{_part(instance)}/exec"
        ws = await self._transport.connect(path, query=_query(container=container))
        async with ws:
            conversation = Conversation(ws)
            await conversation.ask(request)
            yield conversation

    @asynccontextmanager
    async def attach(
        self, instance: str, container: str | None = None, *, stdin: bool = False
    ) -> AsyncIterator[Conversation]:
        """With what runs in a container of an instance, from now on."""
        path = f"/v1/instances/{_part(instance)}/attach"
        query = _query(container=container, stdin="true" if stdin else None)
        async with await self._transport.connect(path, query=query) as ws:
            yield Conversation(ws)

    async def usage(self, node: str | None = None) -> Listing[NodeUsage]:
        return await self._list(NodeUsage, "/v1/usage", node=node)

    async def watch(
        self, form: type[T], *, namespace: str | None = None, name: str | None = None
    ) -> AsyncGenerator[WatchEvent[T], None]:
        """What there is, each ADDED, then SYNC, then every change, until the stream breaks."""
        kind = next(kind for kind, each in FORMS.items() if each is form)
        query = _query(kind=kind, namespace=namespace, name=name, **self._not_older())
        async with aclosing(self._transport.stream("/v1/watch", query=query)) as lines:
            async for line in lines:
                yield read_event(form, line)

    async def _list(self, form: type[T], path: str, **query: str | int | None) -> Listing[T]:
        asked = _query(**query, **self._not_older())
        return read_listing(form, await self._transport.send("GET", path, query=asked))

    async def _get(self, form: type[T], path: str) -> T:
        asked = _query(**self._not_older())
        return read(form, await self._transport.send("GET", path, query=asked))

    async def _write(
        self, method: str, path: str, *, body: object = None, **query: str | None
    ) -> Written:
        answer = await self._transport.send(method, path, query=_query(**query), body=body)
        written = read(Written, answer or {"revision": 0, "outcome": "deleted"})
        self._written_revision = max(self._written_revision, written.revision)
        return written

    async def _patch_node(self, node: str, **patch: object) -> Written:
        return await self._write("PATCH", f"/v1/nodes/{_part(node)}", body=patch)

    def _not_older(self) -> dict[str, int | None]:
        return {"min_revision": self._written_revision or None}


def _workload_path(key: WorkloadKey) -> str:
    return f"/v1/workloads/{_part(key.namespace)}/{_part(key.name)}"


def _images_path(node: str) -> str:
    return f"/v1/nodes/{_part(node)}/images"


def _move_path(instance: str) -> str:
    return f"/v1/instances/{_part(instance)}/move"


def _part(name: str) -> str:
    """One segment of a path, whatever the user has typed.

    Raises `NotFound` for what would lead elsewhere: no name is like that.
    """
    if name in {"", ".", ".."}:
        raise NotFound(f"there is nothing named {name!r}")
    return quote(name, safe="")


def _query(**query: str | int | None) -> dict[str, str]:
    return {name: str(value) for name, value in query.items() if value is not None}
