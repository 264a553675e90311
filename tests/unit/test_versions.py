"""Which etcd versions are fit, and that the reason says what to do."""

from __future__ import annotations

import pytest

from store.versions import Fitness, verdict_on


@pytest.mark.parametrize("version", ["3.5.0", "3.5.1", "3.5.2", "3.5.0-rc.1", "3.5.3-rc.0"])
def test_versions_that_corrupt_data_are_unfit(version: str) -> None:
    verdict = verdict_on(version)

    assert verdict.fitness is Fitness.UNFIT
    assert f"etcd {version} corrupts" in verdict.reason
    assert "install 3.5.33" in verdict.reason


@pytest.mark.parametrize(
    "version", ["3.5.33", "3.6.14", "3.7.1", "3.7.9", "3.8.0", "4.0.0", "v3.6.20"]
)
def test_versions_without_known_defects_are_fit(version: str) -> None:
    assert verdict_on(version).fitness is Fitness.FIT
    assert verdict_on(version).reason == ""


@pytest.mark.parametrize(
    ("version", "harm"),
    [
        ("3.5.3", "lose an acknowledged write"),
        ("3.5.7", "a part of a transaction"),
        ("3.5.17", "miss deletions"),
        ("3.5.27", "linearizable reads can be stale"),
        ("3.5.32", "known holes"),
        ("3.6.8", "linearizable reads can be stale"),
        ("3.6.14-rc.0", "known holes"),
        ("3.7.0", "known holes"),
        ("3.4.20", "lose an acknowledged write"),
        ("3.4.23", "no longer maintained"),
        ("3.4.45", "no longer maintained"),
        ("3.3.10", "no longer maintained"),
        ("2.3.8", "no longer maintained"),
    ],
)
def test_versions_with_known_defects_are_doubtful_for_the_worst_of_them(
    version: str, harm: str
) -> None:
    verdict = verdict_on(version)

    assert verdict.fitness is Fitness.DOUBTFUL
    assert version in verdict.reason
    assert harm in verdict.reason
    assert "install" in verdict.reason


@pytest.mark.parametrize("version", ["", "not_decided", "3", "3.5", "3.x.1", "latest", "①.②.③"])
def test_odd_versions_are_doubtful_and_never_crash(version: str) -> None:
    verdict = verdict_on(version)

    assert verdict.fitness is Fitness.DOUBTFUL
    assert "install" in verdict.reason
