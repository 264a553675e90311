"""Manifests, indexes and configs of images, and what skopeo's complaints say."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orchestrator.model import errors
from orchestrator.runtime.images.complaints import registry_words
from orchestrator.runtime.images.config import ImageConfig, read_config
from orchestrator.runtime.images.manifests import Index, Manifest, read_manifest
from orchestrator.runtime.images.platforms import Machine, Platform, best

DIGEST = f"sha256:{'a' * 64}"
AMD64 = Machine("amd64", ("", "v1"))
ARM = Machine("arm", ("v7", "", "v6"))
OCI = "application/vnd.oci.image"


def blob(media_type: str, **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": DIGEST, "size": 1, **more}


def manifest(**changes: Any) -> bytes:
    whole = {
        "schemaVersion": 2,
        "config": blob(f"{OCI}.config.v1+json"),
        "layers": [blob(f"{OCI}.layer.v1.tar+gzip")],
    }
    return json.dumps({**whole, **changes}).encode()


def test_a_manifest_of_either_kind_is_read() -> None:
    found = read_manifest(manifest())
    assert isinstance(found, Manifest)
    assert [each.digest for each in found.layers] == [DIGEST]
    docker = read_manifest(
        manifest(
            config=blob("application/vnd.docker.container.image.v1+json"),
            layers=[blob("application/vnd.docker.image.rootfs.diff.tar.gzip")],
        )
    )
    assert isinstance(docker, Manifest)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<html>", "not as OCI describes one: it: invalid json"),
        (b"[]", "not as OCI describes one"),
        (manifest(layers=[{"digest": "md5:1", "size": 1}]), r"layers\.0\.digest: string should"),
        (manifest(layers=[{"digest": DIGEST, "size": -1}]), r"layers\.0\.size"),
        (manifest(schemaVersion=1), "schema 1"),
        (manifest(config=None), "no container image: its config is nothing"),
        (manifest(config=blob("application/x-helm")), "its config is application/x-helm"),
        (manifest(layers=[blob("text/plain")]), "a layer of a kind not supported: text/plain"),
        (
            manifest(layers=[blob(f"{OCI}.layer.v1.tar+gzip+encrypted")]),
            "a layer of a kind not supported",
        ),
        (manifest(layers=[blob(f"{OCI}.layer.v1.tar")] * 501), "501 layers"),
    ],
)
def test_what_is_no_image_is_refused_with_its_reason(content: bytes, reason: str) -> None:
    with pytest.raises(errors.RuntimeError, match=reason):
        read_manifest(content)


def test_an_index_without_our_platform_says_which_it_has() -> None:
    offered = [("linux", "arm64"), ("windows", "amd64"), ("unknown", "unknown")]
    manifests = [
        blob(f"{OCI}.manifest.v1+json", platform={"os": name, "architecture": each})
        for name, each in offered
    ]
    index = read_manifest(json.dumps({"schemaVersion": 2, "manifests": manifests}).encode())
    assert isinstance(index, Index)
    with pytest.raises(
        errors.RuntimeError, match=r"for linux/amd64, .* but for linux/arm64, windows/amd64$"
    ):
        index.choose(AMD64)
    with pytest.raises(errors.RuntimeError, match="but for nothing"):
        Index(()).choose(AMD64)


@pytest.mark.parametrize(
    ("machine", "offered", "expected"),
    [
        (AMD64, ["linux/arm64", "linux/amd64"], 1),
        (AMD64, ["linux/amd64/v3", "linux/amd64"], 1),
        (AMD64, ["linux/amd64/v3"], None),
        (AMD64, ["windows/amd64"], None),
        (ARM, ["linux/arm/v6", "linux/arm/v7", "linux/arm"], 1),
        (ARM, ["linux/arm/v6", "linux/arm/v8"], 0),
        (AMD64, ["linux/amd64", "linux/amd64"], 0),
        (AMD64, [], None),
    ],
)
def test_the_best_variant_for_a_machine(
    machine: Machine, offered: list[str], expected: int | None
) -> None:
    assert best(machine, [Platform(*each.split("/")) for each in offered]) == expected


def test_all_of_a_config_is_read() -> None:
    document = read_config(
        json.dumps(
            {
                "created": "2026-01-02T03:04:05Z",
                "architecture": "amd64",
                "os": "linux",
                "config": {
                    "Entrypoint": ["/app"],
                    "Cmd": ["--serve"],
                    "Env": ["A=1", "B=x=y", "C"],
                    "User": "app:staff",
                    "WorkingDir": "/srv",
                    "StopSignal": "SIGQUIT",
                    "Volumes": {"/var/lib": {}},
                    "ExposedPorts": {"80/tcp": {}},
                    "Labels": {"a": "b"},
                    "Healthcheck": {"Test": ["NONE"]},
                },
                "rootfs": {"type": "layers", "diff_ids": [DIGEST]},
                "history": [],
            }
        ).encode(),
        AMD64,
    )
    assert document.diff_ids == (DIGEST,)
    assert document.created == "2026-01-02T03:04:05Z"
    assert document.config == ImageConfig(
        entrypoint=("/app",),
        command=("--serve",),
        env={"A": "1", "B": "x=y", "C": ""},
        user="app:staff",
        working_dir="/srv",
        stop_signal="SIGQUIT",
        volumes=("/var/lib",),
        exposed_ports=("80/tcp",),
        architecture="amd64",
        os="linux",
        labels={"a": "b"},
    )


def test_what_a_config_does_not_say_is_empty() -> None:
    says_nothing: dict[str, Any] = {
        "rootfs": {"diff_ids": []},
        "created": None,
        "config": {"Cmd": None},
    }
    document = read_config(json.dumps(says_nothing).encode(), AMD64)
    assert (document.config, document.created) == (ImageConfig(), "")


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"architecture": "arm64", "os": "linux"}, "is for linux/arm64, and this node is linux"),
        ({"architecture": "amd64", "os": "windows"}, "is for windows/amd64"),
        ({"rootfs": {"diff_ids": ["x"]}}, r"rootfs\.diff_ids\.0"),
        ({"config": {"Cmd": "sh"}}, r"config\.Cmd"),
        ({"config": {"Env": [1]}}, r"config\.Env"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(config: dict[str, Any], reason: str) -> None:
    whole = {"rootfs": {"diff_ids": []}, **config}
    with pytest.raises(errors.RuntimeError, match=reason):
        read_config(json.dumps(whole).encode(), AMD64)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (
            'time="2026-01-02T03:04:05Z" level=warning msg="slow"\n'
            'time="2026-01-02T03:04:06Z" level=fatal msg="Error parsing image name '
            '\\"docker://r/app:9\\": reading manifest 9 in r/app: manifest unknown: '
            'manifest unknown"',
            "reading manifest 9 in r/app: manifest unknown",
        ),
        (
            'time="x" level=fatal msg="initializing source docker://r/app:9: pinging container '
            'registry r: Get \\"https://r/v2/\\": EOF"',
            'pinging container registry r: Get "https://r/v2/": EOF',
        ),
        ('level=fatal msg="two\\nlines"', "two lines"),
        ("panic: no log\nat all", "at all"),
        ("", "skopeo failed without a word"),
    ],
)
def test_a_registrys_words_are_told_without_the_log_around_them(said: str, words: str) -> None:
    assert registry_words(said) == words


def test_words_without_end_are_cut() -> None:
    assert len(registry_words("x" * 10_000)) == 500
