"""OCI images for tests, made here and now: of busybox, and such as nobody should make.

    source = build(tmp_path / "layout", "app", command=("sleep", "100"))
    pinned = registry.push(source, "lib/app:1.4")     # a `registry` of tests.support.registry

`build` writes an OCI layout and returns it as skopeo names it; the default is busybox with all
its applets in /bin, root and the user `app` (1000:1000, home /home/app), and no config but
`PATH`. More layers go on top with `layers=(layer(file("etc/motd", b"hello\n")),)`, see
tests.support.layers. Without busybox the tests are skipped: call `busybox_program` first, or
use the fixture `registry`, which does.
"""

from __future__ import annotations

import functools
import json
import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.layers import Layer, digest_of, directory, file, layer, symlink

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
ARCHITECTURE = ARCHITECTURES.get(platform.machine(), platform.machine())

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PASSWD = b"root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/home/app:/bin/sh\n"
GROUP = b"root:x:0:\nwheel:x:10:app\napp:x:1000:\n"

OCI = "application/vnd.oci.image"


def busybox_program() -> Path:
    """A busybox that needs no libraries; skips the test if there is none."""
    found = shutil.which("busybox")
    if found is None or b"/ld-linux" in Path(found).read_bytes()[:4096]:
        pytest.skip("no static busybox here: install busybox-static")
    return Path(found)


@functools.cache
def busybox_layer() -> Layer:
    program = busybox_program()
    listed = subprocess.run([program, "--list"], capture_output=True, text=True, check=True)
    applets = set(listed.stdout.split()) - {"busybox"}
    return layer(
        *(directory(name) for name in ("bin", "etc", "dev", "proc", "sys", "home", "var")),
        directory("root", 0o700),
        directory("tmp", 0o1777),
        directory("home/app", uid=1000, gid=1000),
        file("etc/passwd", PASSWD),
        file("etc/group", GROUP),
        file("bin/busybox", program.read_bytes(), 0o755),
        *(symlink(f"bin/{applet}", "busybox") for applet in sorted(applets)),
    )


def build(
    layout: Path,
    name: str,
    *,
    layers: Sequence[Layer] = (),
    base: Layer | None = None,
    entrypoint: Sequence[str] = (),
    command: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    user: str = "",
    working_dir: str = "",
    stop_signal: str = "",
    volumes: Sequence[str] = (),
    exposed_ports: Sequence[str] = (),
    labels: Mapping[str, str] | None = None,
    architecture: str = ARCHITECTURE,
) -> str:
    """Add an image to the layout. `base` is its lowest layer, busybox if there is none.

    Returns `oci:<layout>:<name>`, a source for skopeo. Its manifest's digest is `digest(source)`.
    """
    config: dict[str, Any] = {
        "Entrypoint": list(entrypoint) or None,
        "Cmd": list(command) or None,
        "Env": [f"{key}={value}" for key, value in {"PATH": PATH, **(env or {})}.items()],
        "User": user,
        "WorkingDir": working_dir,
        "StopSignal": stop_signal,
        "Volumes": {path: {} for path in volumes},
        "ExposedPorts": {port: {} for port in exposed_ports},
        "Labels": dict(labels or {}),
    }
    stacked = (busybox_layer() if base is None else base, *layers)
    written = write_image(layout, config, stacked, architecture=architecture)
    return _named(layout, name, written)


def build_index(layout: Path, name: str, architectures: Sequence[str] = ()) -> str:
    """An index with one busybox for each architecture: this machine's unless others are named.
    Each has its architecture's name in /etc/arch. Returns the same as `build`."""
    manifests = []
    for each in architectures or (ARCHITECTURE,):
        stacked = (busybox_layer(), layer(file("etc/arch", each.encode())))
        manifest = write_image(layout, {"Cmd": ["sh"]}, stacked, architecture=each)
        platform_of = {"os": "linux", "architecture": each}
        manifests.append({**manifest, "platform": platform_of})
    index = {"schemaVersion": 2, "mediaType": f"{OCI}.index.v1+json", "manifests": manifests}
    return _named(layout, name, write_json(layout, f"{OCI}.index.v1+json", index))


def digest(source: str) -> str:
    """The digest of the manifest or index that `build` or `build_index` has made."""
    _, layout, name = source.split(":")
    listed: list[dict[str, Any]] = json.loads(Path(layout, "index.json").read_text())["manifests"]
    return next(str(each["digest"]) for each in listed if _name_of(each) == name)


Descriptor = dict[str, Any]


def write_image(
    layout: Path, config: Mapping[str, Any], layers: Sequence[Layer], *, architecture: str
) -> Descriptor:
    """Returns the manifest's descriptor."""
    whole = {
        "created": "2026-01-02T03:04:05Z",
        "architecture": architecture,
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [each.diff_id for each in layers]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{OCI}.manifest.v1+json",
        "config": write_json(layout, f"{OCI}.config.v1+json", whole),
        "layers": [write_blob(layout, each.media_type, each.blob) for each in layers],
    }
    return write_json(layout, f"{OCI}.manifest.v1+json", manifest)


def write_json(layout: Path, media_type: str, value: object) -> Descriptor:
    return write_blob(layout, media_type, json.dumps(value).encode())


def write_blob(layout: Path, media_type: str, content: bytes) -> Descriptor:
    name = digest_of(content)
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    (blobs / name.removeprefix("sha256:")).write_bytes(content)
    return {"mediaType": media_type, "digest": name, "size": len(content)}


def _named(layout: Path, name: str, descriptor: Descriptor) -> str:
    """Into the layout's index, in the place of what had that name."""
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    index = layout / "index.json"
    there = json.loads(index.read_text())["manifests"] if index.exists() else []
    named = {**descriptor, "annotations": {"org.opencontainers.image.ref.name": name}}
    kept = [each for each in there if _name_of(each) != name]
    index.write_text(json.dumps({"schemaVersion": 2, "manifests": [*kept, named]}))
    return f"oci:{layout}:{name}"


def _name_of(descriptor: Descriptor) -> str:
    annotations: dict[str, str] = descriptor.get("annotations", {})
    return annotations.get("org.opencontainers.image.ref.name", "")
