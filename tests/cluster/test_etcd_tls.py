"""TLS towards a real etcd, and etcd's users by the common names of their certificates."""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from store.errors import Invalid, PermissionDenied, Unavailable
from store.etcd import EtcdStore, Tls
from store.patience import Patience
from store.values import Compare, RangeOp, Target, Txn
from tests.support.certificates import Authority, KeyPair
from tests.support.etcd import EtcdCluster, ServerTls, etcd_of
from tests.support.stores import Listener, get, put


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "tls")


@pytest.fixture(params=["3.4", "3.5"])
def secured(
    request: pytest.FixtureRequest, tmp_path: Path, authority: Authority
) -> Iterator[EtcdCluster]:
    """A member that demands client certificates."""
    binary = etcd_of(request.param)
    server = authority.issue("server")
    tls = ServerTls(authority.ca, server.certificate, server.key)
    with EtcdCluster(binary, 1, tmp_path / "etcd", tls=tls) as cluster:
        yield cluster


def tls_of(authority: Authority, pair: KeyPair) -> Tls:
    return Tls(authority.ca, pair.certificate, pair.key)


async def test_a_client_certificate_opens_the_door(
    secured: EtcdCluster, authority: Authority
) -> None:
    store = EtcdStore(secured.endpoints, tls=tls_of(authority, authority.issue("client")))
    revision = await put(store, "/a", b"1")
    watch = Listener(store.watch("/a", start_revision=revision))
    await watch.created()
    assert [change.value for change in await watch.changes(1)] == [b"1"]
    assert len(await store.members()) == 1
    await store.close()


async def test_without_a_client_certificate_it_stays_shut(
    secured: EtcdCluster, authority: Authority
) -> None:
    store = EtcdStore(secured.endpoints, tls=Tls(authority.ca))
    with pytest.raises(Unavailable):
        await get(store, "/a")
    await store.close()


async def test_a_server_of_an_unknown_authority_is_not_trusted(
    secured: EtcdCluster, authority: Authority, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path / "stranger")
    store = EtcdStore(secured.endpoints, tls=tls_of(stranger, authority.issue("client")))
    with pytest.raises(Unavailable, match=r"(?i)certificate"):
        await get(store, "/a")
    await store.close()


async def test_renewed_certificates_are_taken_up_when_the_connection_breaks(
    secured: EtcdCluster, authority: Authority, tmp_path: Path
) -> None:
    store = EtcdStore(secured.endpoints, tls=tls_of(authority, authority.issue("client")))
    watch = Listener(store.watch("/a"))
    await watch.created()
    renewed = Authority(tmp_path / "tls")
    renewed.issue("server")
    renewed.issue("client")
    (member,) = secured.members
    member.kill()
    member.start()
    with pytest.raises(Unavailable):
        await watch.response()
    await until_answered(store)
    await put(store, "/a", b"1")
    await store.close()


async def until_answered(store: EtcdStore) -> None:
    async for attempt in Patience(time.monotonic, random.Random(1), 10.0).retrying(Unavailable):
        with attempt:
            await get(store, "/a")


def damaged(path: Path) -> Path:
    path.write_text("not PEM")
    return path


BAD_FILES: dict[str, tuple[str, Callable[[Authority, Path], Tls]]] = {
    "no CA": (
        "cannot read the TLS CA file .*missing.pem: No such file",
        lambda authority, path: Tls(path / "missing.pem"),
    ),
    "no key": (
        "cannot read the TLS key file .*missing.key: No such file",
        lambda authority, path: Tls(
            authority.ca, authority.issue("client").certificate, path / "missing.key"
        ),
    ),
    "certificate without key": (
        "must be given together",
        lambda authority, path: Tls(authority.ca, authority.issue("client").certificate),
    ),
    "damaged CA": (
        "junk.pem holds no PEM certificate",
        lambda authority, path: Tls(damaged(path / "junk.pem")),
    ),
    "damaged certificate": (
        "junk.pem and key .* are not a PEM certificate",
        lambda authority, path: Tls(
            authority.ca, damaged(path / "junk.pem"), authority.issue("client").key
        ),
    ),
    "another's key": (
        "are not a PEM certificate with its unencrypted private key",
        lambda authority, path: Tls(
            authority.ca, authority.issue("one").certificate, authority.issue("two").key
        ),
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_named_at_once(case: str, authority: Authority, tmp_path: Path) -> None:
    sentence, make = BAD_FILES[case]
    with pytest.raises(Invalid, match=sentence):
        EtcdStore(["https://127.0.0.1:2379"], tls=make(authority, tmp_path))


async def test_what_a_user_may_not_touch_is_refused_and_not_silent(
    secured: EtcdCluster, authority: Authority
) -> None:
    allow_agent_its_own(secured, authority)
    store = EtcdStore(secured.endpoints, tls=tls_of(authority, authority.issue("agent")))
    await put(store, "/nodes/one/a", b"1")
    with pytest.raises(PermissionDenied):
        await put(store, "/nodes/two/a", b"1")
    with pytest.raises(PermissionDenied):
        await get(store, "/nodes/two/a")
    with pytest.raises(PermissionDenied):
        await store.txn(
            Txn(
                compares=(Compare("/leader", Target.CREATE, 0),),
                success=(RangeOp("/nodes/one/a"),),
            )
        )
    refused = Listener(store.watch("/nodes/", range_end="/nodes0"))
    for _ in range(2):
        with pytest.raises(PermissionDenied):
            await refused.response()
    allowed = Listener(store.watch("/nodes/one/", range_end="/nodes/one0"))
    await allowed.created()
    await store.close()


def allow_agent_its_own(cluster: EtcdCluster, authority: Authority) -> None:
    """Turn etcd's access control on, with a user `agent` that is confined to /nodes/one/."""
    root = authority.issue("root")
    etcdctl = [
        str(cluster.binary.with_name("etcdctl")),
        f"--endpoints={cluster.endpoints[0]}",
        f"--cacert={authority.ca}",
        f"--cert={root.certificate}",
        f"--key={root.key}",
    ]
    for command in (
        "user add root --no-password",
        "role add root",
        "user grant-role root root",
        "user add agent --no-password",
        "role add one",
        "role grant-permission one readwrite /nodes/one/ --prefix",
        "user grant-role agent one",
        "auth enable",
    ):
        subprocess.run(
            [*etcdctl, *command.split()],
            env={**os.environ, "ETCDCTL_API": "3"},
            check=True,
            capture_output=True,
        )
