"""What somebody may have meant."""

from __future__ import annotations

import pytest

from orchestrator.model.near_names import near_name

KNOWN = ("name", "replicas", "env_vars", "host_port", "container_port", "stop_grace_seconds")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("replicsa", "replicas"),
        ("Name", "name"),
        ("hostPort", "host_port"),
        ("host-port", "host_port"),
        ("env", "env_vars"),
        ("count", "replicas"),
        ("terminationGracePeriodSeconds", "stop_grace_seconds"),
        ("cpu", None),
        ("gpus", None),
        ("colour", None),
        ("", None),
        ("x" * 1_000_000, None),
    ],
)
def test_the_nearest_name_if_any_is_near(written: str, meant: str | None) -> None:
    assert near_name(written, KNOWN) == meant


@pytest.mark.parametrize("written", ["in", "IN", "notIn", "not_in", "notin", "exists"])
def test_letter_case_is_forgiven_on_either_side(written: str) -> None:
    known = ("In", "NotIn", "Exists", "DoesNotExist")
    assert (near_name(written, known) or "").lower() == written.lower().replace("_", "")


def test_how_near_is_near_enough_can_be_told() -> None:
    assert near_name("gpu_memory_mb", ["memory_mb"]) == "memory_mb"
    assert near_name("gpu_memory_mb", ["memory_mb"], cutoff=0.85) is None
