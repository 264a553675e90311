"""etcd's own command line, for what people do to etcd and for what only etcd knows of itself."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support.chaos.recordings import EtcdAtFault
from tests.support.etcd import EtcdCluster, EtcdMember

LIMIT_SECONDS = 30.0


class Etcdctl:
    """Asks those members only that run. Everything blocks."""

    def __init__(self, etcd: EtcdCluster) -> None:
        self._etcd = etcd

    def leader(self) -> EtcdMember:
        """etcd's own leader."""
        for told in self._ask("endpoint", "status"):
            status = told["Status"]
            if status["leader"] == status["header"]["member_id"]:
                return self._etcd.member_at(told["Endpoint"])
        raise AssertionError("etcd has no leader")

    def followers(self) -> list[EtcdMember]:
        leader = self.leader()
        return [member for member in self._etcd.members if member is not leader]

    def revision(self) -> int:
        answer = self._ask("get", "no-such-key")
        return int(answer["header"]["revision"])

    def lease_of(self, key: str) -> int:
        (kv,) = self._ask("get", key)["kvs"]
        return int(kv["lease"])

    def value(self, key: str) -> bytes:
        (kv,) = self._ask("get", key)["kvs"]
        return base64.b64decode(kv["value"])

    def put(self, key: str, size: int) -> bool:
        """A value of so many bytes; false if etcd does not take it."""
        return self._try("put", key, standard_input="x" * size).returncode == 0

    def make_room(self, prefix: str) -> None:
        """As etcd's documentation tells people who have hit the quota; first of all, keys under
        `prefix` are deleted."""
        self._run("del", "--prefix", prefix)
        self.compact(self.revision())
        self._run("defrag")
        self._run("alarm", "disarm")

    def compact(self, revision: int) -> None:
        self._run("compact", str(revision))

    def revoke(self, lease: int) -> None:
        self._run("lease", "revoke", f"{lease:x}")

    def save(self, snapshot: Path) -> None:
        self._run("snapshot", "save", str(snapshot), endpoints=self._endpoints()[:1])

    def restore(self, snapshot: Path, member: EtcdMember) -> None:
        """The directory of a member that is alone, from a backup."""
        self._run(
            "snapshot",
            "restore",
            str(snapshot),
            f"--name={member.name}",
            f"--data-dir={member.data_dir}",
            f"--initial-cluster={member.name}={member.peer_url}",
            f"--initial-advertise-peer-urls={member.peer_url}",
        )

    def check_hashes(self) -> None:
        """Raises `EtcdAtFault` unless all members have the same keys at one revision."""
        revision = self.revision()
        told = self._ask("endpoint", "hashkv", f"--rev={revision}")
        hashes = {each["Endpoint"]: each["HashKV"]["hash"] for each in told}
        if len(set(hashes.values())) != 1:
            raise EtcdAtFault(f"members of etcd differ at revision {revision}: {hashes}")

    def _ask(self, *arguments: str) -> Any:
        return json.loads(self._run(*arguments, "--write-out=json"))

    def _endpoints(self) -> list[str]:
        return [member.endpoint for member in self._etcd.members if member.is_running]

    def _run(self, *arguments: str, endpoints: Sequence[str] = ()) -> str:
        done = self._try(*arguments, endpoints=endpoints)
        assert done.returncode == 0, f"etcdctl {arguments}: {done.stderr}"
        return done.stdout

    def _try(
        self, *arguments: str, endpoints: Sequence[str] = (), standard_input: str = ""
    ) -> subprocess.CompletedProcess[str]:
        asked = ",".join(endpoints or self._endpoints())
        return subprocess.run(
            [self._etcd.binary.with_name("etcdctl"), f"--endpoints={asked}", *arguments],
            env={**os.environ, "ETCDCTL_API": "3"},
            input=standard_input,
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
        )
