"""Hypothesis strategies for whatever a user may rightly ask for, and for every record."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from enum import Enum
from string import ascii_letters, ascii_lowercase, digits
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from orchestrator.model.container import NetworkMode
from orchestrator.model.instance import InstanceName
from orchestrator.model.placement import ANYWHERE, PriorityClass
from orchestrator.model.resources import NAMED, NodeResources
from orchestrator.model.rules.workload import MAX_GANG
from orchestrator.model.workload import (
    ContainerConfig,
    OnNodeLost,
    PortMapping,
    Protocol,
    RestartPolicy,
    WorkloadDefinition,
    WorkloadKey,
)
from tests.support.isolation import images, of_container, of_instance
from tests.support.placements import placements

finite = st.floats(allow_nan=False, allow_infinity=False)
seconds = st.floats(0, 86_400)
arguments = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)
dns_labels = st.one_of(
    st.text(ascii_lowercase + digits, min_size=1, max_size=8),
    st.from_regex(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True),
)
counters = st.integers(0, 999_999_999)
workload_keys = st.builds(WorkloadKey, dns_labels, dns_labels)
instance_names = st.builds(InstanceName, dns_labels, dns_labels, counters, counters)

_label_texts = st.text(ascii_letters + digits, min_size=1, max_size=10)
_env_names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,9}", fullmatch=True).filter(
    lambda name: not name.startswith("ORC_")
)
_own_resources = st.sampled_from(["example.org/fpga", "licences", "tpu-v5"])
_models = st.lists(_label_texts, max_size=3, unique=True).map(tuple)


def _requests(limit: float) -> st.SearchStrategy[NodeResources]:
    amounts = st.just(0.0) | st.floats(0.001, limit)
    owned = st.dictionaries(_own_resources, amounts, max_size=2)
    return st.builds(NodeResources, amounts, amounts, amounts, owned)


_limits = st.builds(NodeResources, **{name: st.sampled_from([0.0, 5_000.0]) for name in NAMED})


@st.composite
def _containers(draw: st.DrawFn, instance: dict[str, Any] | None) -> tuple[ContainerConfig, ...]:
    """`instance`: what there is to mount and share; None for plain processes."""
    names = draw(st.lists(dns_labels, min_size=1, max_size=3, unique=True))
    has_image = instance is not None
    ports = iter(draw(_ports(instance["network"] if instance else NetworkMode.BRIDGE)))
    models = draw(_models)
    return tuple(
        ContainerConfig(
            name=name,
            image=draw(images) if has_image else "",
            command=draw(_commands(min_size=0 if has_image else 1)),
            args=tuple(draw(st.lists(arguments, max_size=3))),
            env_vars=draw(st.dictionaries(_env_names, arguments, max_size=3)),
            working_dir=draw(st.just("") | arguments.map("/{}".format)),
            ports=tuple(port for _, port in zip(range(2), ports, strict=False)),
            resource_requests=_with_gpus(draw(_requests(5_000)), gpus),
            resource_limits=draw(_limits),
            gpu_model=models if gpus else (),
            **(draw(of_container(instance)) if instance else {}),
        )
        for name, gpus in zip(names, draw(_gpus(len(names))), strict=True)
    )


def _gpus(containers: int) -> st.SearchStrategy[list[float]]:
    """For each container: whole devices, or shares that make no more than one."""
    shares = st.sampled_from([0.0, 0.01, 0.25])
    whole = st.integers(0, 20).map(float)
    lists = (st.lists(each, min_size=containers, max_size=containers) for each in (shares, whole))
    return st.one_of(*lists)


def _with_gpus(resources: NodeResources, gpus: float) -> NodeResources:
    custom = {**resources.custom, **({"gpu": gpus} if gpus else {})}
    return replace(resources, custom=custom)


def _commands(min_size: int) -> st.SearchStrategy[tuple[str, ...]]:
    programs = st.lists(arguments.filter(bool), min_size=min_size, max_size=1)
    return st.builds(lambda first, rest: (*first, *(rest if first else ())), programs, _rest)


_rest = st.lists(arguments, max_size=3)
_port_numbers = st.integers(1, 65_535)


@st.composite
def _ports(draw: st.DrawFn, network: NetworkMode) -> list[PortMapping]:
    """Ports of one instance: unique on either side, and by name."""
    most = 0 if network is NetworkMode.NONE else 5
    numbers = draw(st.lists(_port_numbers, max_size=most, unique=True))
    is_host = network is NetworkMode.HOST
    return [
        PortMapping(
            container_port=number,
            host_port=draw(st.sampled_from([None, number if is_host else 65_536 - number])),
            protocol=draw(st.sampled_from(Protocol)),
            name=draw(st.sampled_from(["", f"port-{number}"])),
        )
        for number in numbers
    ]


@st.composite
def definitions(draw: st.DrawFn) -> WorkloadDefinition:
    """Definitions that break no rule."""
    shortest, longest = sorted((draw(seconds), draw(seconds)))
    is_gang = draw(st.booleans())
    instance = draw(st.none() | of_instance())
    return WorkloadDefinition(
        name=draw(dns_labels),
        namespace=draw(st.just("default") | dns_labels),
        containers=draw(_containers(instance)),
        replicas=draw(st.integers(0, MAX_GANG if is_gang else 100_000)),
        labels=draw(st.dictionaries(_label_texts, st.just("") | _label_texts, max_size=3)),
        stop_grace_seconds=draw(seconds),
        restart=RestartPolicy(shortest, longest, draw(seconds)),
        on_node_lost=draw(st.sampled_from(OnNodeLost)),
        lost_after_seconds=draw(seconds),
        placement=draw(st.just(ANYWHERE) | placements),
        priority=draw(st.sampled_from(PriorityClass)),
        gang=is_gang,
        min_available=draw(st.none() | st.integers(0, 100_000)),
        **(instance or {}),
    )


def any_of(kind: Any) -> st.SearchStrategy[Any]:
    """Any value of a type that records are made of, whether or not it makes sense."""
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        assert isinstance(kind, type)
        return st.builds(kind, **{each.name: any_of(hints[each.name]) for each in fields(kind)})
    origin, arguments_of = get_origin(kind), get_args(kind)
    if origin is tuple:
        return st.lists(any_of(arguments_of[0]), max_size=2).map(tuple)
    if origin is dict:
        return st.dictionaries(st.text(), any_of(arguments_of[1]), max_size=2)
    if isinstance(kind, UnionType):
        return st.one_of(*(any_of(each) for each in arguments_of))
    if isinstance(kind, type) and issubclass(kind, Enum):
        return st.sampled_from(kind)
    return finite if kind is float else st.from_type(kind)
