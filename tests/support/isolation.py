"""Hypothesis strategies for what containers made of images may ask for, and that breaks no rule."""

from __future__ import annotations

from string import ascii_lowercase, digits
from typing import Any

from hypothesis import strategies as st

from orchestrator.model.container import (
    Device,
    Mount,
    NetworkMode,
    PullPolicy,
    SeccompProfile,
    Security,
    SharedNamespace,
    Ulimit,
    Volume,
    VolumeKind,
)
from orchestrator.model.image import DEFAULT_REGISTRY, ImageReference
from orchestrator.model.kernel import CAPABILITIES, ULIMITS
from orchestrator.model.rules.container import MAX_PIDS, MAX_ULIMIT

_words = st.text(ascii_lowercase + digits, min_size=1, max_size=6)
_names = st.lists(_words, min_size=1, max_size=3).map("-".join)
_paths = st.lists(_words, min_size=1, max_size=3).map(lambda steps: "/srv/" + "/".join(steps))
_digests = st.text("0123456789abcdef", min_size=64, max_size=64).map("sha256:{}".format)
_tags = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True)
_registries = st.sampled_from(
    [DEFAULT_REGISTRY, "localhost", "registry.example.org", "r:5000", "[::1]:5000", "10.0.0.1:80"]
)


@st.composite
def image_references(draw: st.DrawFn) -> ImageReference:
    """In the normal form."""
    registry = draw(_registries)
    path = "/".join(draw(st.lists(_names, min_size=1, max_size=3)))
    if registry == DEFAULT_REGISTRY and "/" not in path:
        path = f"library/{path}"
    digest = draw(st.just("") | _digests)
    return ImageReference(f"{registry}/{path}", draw(_tags if not digest else st.just("")), digest)


images = st.one_of(
    image_references().map(str),
    st.sampled_from(["nginx", "nginx:1.29", "team/app", f"web:2@sha256:{'0' * 64}"]),
)


@st.composite
def volumes(draw: st.DrawFn) -> tuple[Volume, ...]:
    names = draw(st.lists(_names, max_size=3, unique=True))
    return tuple(draw(_volume(name)) for name in names)


@st.composite
def _volume(draw: st.DrawFn, name: str) -> Volume:
    kind = draw(st.sampled_from(VolumeKind))
    source = {
        VolumeKind.BIND: _paths | st.just("/"),
        VolumeKind.NFS: st.builds("{}:{}".format, st.sampled_from(["nfs-1", "[fd00::1]"]), _paths),
    }.get(kind, st.just(""))
    options = ["ro", "noexec"]
    options += {VolumeKind.NFS: ["vers=4.2", "hard"], VolumeKind.TMPFS: ["mode=1777"]}.get(kind, [])
    is_bounded = kind is VolumeKind.TMPFS
    return Volume(
        name,
        kind,
        draw(source),
        ",".join(draw(st.lists(st.sampled_from(options), max_size=2))),
        draw(st.none() | st.floats(0.1, 10_000) if is_bounded else st.none()),
        single_writer=draw(st.booleans()) if kind is not VolumeKind.NFS else False,
    )


@st.composite
def of_instance(draw: st.DrawFn) -> dict[str, Any]:
    """Fields of a workload."""
    network = draw(st.sampled_from(NetworkMode))
    return {
        "volumes": draw(volumes()),
        "network": network,
        "shared": tuple(draw(st.lists(st.sampled_from(SharedNamespace), unique=True))),
        "user_namespace": network is not NetworkMode.HOST and draw(st.booleans()),
    }


@st.composite
def of_container(draw: st.DrawFn, instance: dict[str, Any]) -> dict[str, Any]:
    """Fields of one container, whose workload has those of `of_instance`."""
    return {
        "pull_policy": draw(st.sampled_from(PullPolicy)),
        "security": draw(_securities(may_be_privileged=not instance["user_namespace"])),
        "mounts": draw(_mounts(instance["volumes"])),
        "devices": draw(_devices()),
        "ulimits": draw(st.dictionaries(st.sampled_from(sorted(ULIMITS)), _ulimits, max_size=2)),
        "pids_limit": draw(st.none() | st.integers(1, MAX_PIDS)),
        "init": draw(st.booleans()),
        "stdin": draw(st.booleans()),
        "tty": draw(st.booleans()),
    }


@st.composite
def _securities(draw: st.DrawFn, *, may_be_privileged: bool) -> Security:
    some = draw(st.lists(st.sampled_from(sorted(CAPABILITIES)), max_size=4, unique=True))
    added, dropped = some[:2], some[2:]
    is_privileged = may_be_privileged and draw(st.booleans())
    return Security(
        user=draw(st.sampled_from(["", "app", "1000", "app:www-data", "0:0"])),
        privileged=is_privileged,
        read_only_root=draw(st.booleans()),
        add_capabilities=tuple(f"{draw(st.sampled_from(['', 'CAP_']))}{each}" for each in added),
        drop_capabilities=()
        if is_privileged
        else draw(st.sampled_from([tuple(dropped), ("ALL",)])),
        seccomp=draw(st.sampled_from(SeccompProfile)),
        no_new_privileges=draw(st.booleans()),
    )


@st.composite
def _mounts(draw: st.DrawFn, known: tuple[Volume, ...]) -> tuple[Mount, ...]:
    paths = draw(st.lists(_paths, max_size=2 if known else 0, unique=True))
    names = st.sampled_from([each.name for each in known]) if known else st.nothing()
    return tuple(Mount(draw(names), path, draw(st.booleans())) for path in paths)


@st.composite
def _devices(draw: st.DrawFn) -> tuple[Device, ...]:
    paths = draw(st.lists(st.sampled_from(["/dev/fuse", "/dev/net/tun"]), unique=True))
    return tuple(Device(path, draw(st.sampled_from(["r", "rw", "rwm"]))) for path in paths)


_ulimits = st.builds(
    lambda one, other: Ulimit(min(one, other), max(one, other)),
    st.integers(0, MAX_ULIMIT),
    st.integers(0, MAX_ULIMIT),
)
