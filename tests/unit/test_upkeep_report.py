"""What `orc etcd status` finds, and what stands against going on without a quorum."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.entry.etcd import status_text
from orchestrator.model.errors import ConfigError
from orchestrator.upkeep.programs import (
    EtcdPrograms,
    installed_programs,
    plain_environment,
    programs_for,
    restorer_of,
)
from orchestrator.upkeep.quorum import Loss, client_urls_in, objection, require_member
from orchestrator.upkeep.report import StoreReport, report_of
from orchestrator.upkeep.restoring import Membership, read_backup, require_vacant, token_of
from store.values import Header, MemberStatus

MIB = 1024**2
ENDPOINTS = ("http://m1", "http://m2", "http://m3")


def member(number: int, **changes: object) -> MemberStatus:
    made = MemberStatus(
        endpoint=f"http://m{number}",
        header=Header(cluster_id=0xC, member_id=number, revision=40 + number, raft_term=7),
        version="3.6.14",
        leader_id=2,
        db_size_bytes=300 * MIB,
        db_size_in_use_bytes=200 * MIB,
        raft_index=100,
        raft_applied_index=100 - number,
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # the fields' own types


def report(*members: MemberStatus, has_quorum: bool = True) -> StoreReport:
    return report_of(members, ENDPOINTS, None, has_quorum=has_quorum)


def test_a_healthy_etcd_has_no_problems() -> None:
    found = report(member(1), member(2), member(3))
    assert found.problems == found.advice == ()
    assert (found.cluster_id, found.leader, found.revision) == ("c", "http://m2", 43)
    second = found.members[1]
    assert second.is_leader
    assert second.raft_lag == 2
    assert round(second.fragmentation, 2) == 0.33
    assert round(second.quota_share, 3) == 0.146
    text = status_text(found)
    assert "Problems:  -" in text
    assert "300.0MiB" in text


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"errors": ("memberID:3 alarm:NOSPACE ",)}, "etcd is out of space"),
        ({"errors": ("memberID:3 alarm:CORRUPT ",)}, "http://m3 says 'memberID:3 alarm:CORRUPT"),
        ({"leader_id": 3}, "the members do not agree on a leader"),
        ({"header": Header(9, 3, 1, 1)}, "the members are of different clusters"),
        ({"version": "3.5.1"}, "etcd 3.5.1 corrupts its data"),
        ({"db_size_in_use_bytes": 1300 * MIB}, "etcd is 63% full"),
        ({"raft_index": 9000}, "http://m1 is 8901 entries behind"),
    ],
)
def test_what_is_wrong_is_said(changes: dict[str, object], problem: str) -> None:
    found = report(member(1), member(2), member(3, **changes))
    assert any(problem in each for each in found.problems)


def test_who_does_not_answer_is_named_and_a_lost_quorum_comes_first() -> None:
    found = report(member(1, leader_id=0), has_quorum=False)
    assert found.silent_endpoints == ("http://m2", "http://m3")
    assert "`orc etcd recover-quorum`" in found.problems[0]
    assert "http://m2 does not answer" in found.problems[1]
    assert "Quorum:    NO" in status_text(found)


def test_doubtful_versions_and_wasted_room_are_advice_only() -> None:
    found = report(*(member(n, version="3.4.23", db_size_in_use_bytes=MIB) for n in (1, 2, 3)))
    assert found.problems == ()
    assert "no longer maintained" in found.advice[0]
    assert "http://m1 is worth defragmenting" in found.advice[1]


@pytest.mark.parametrize(
    ("loss", "is_forced", "why_not"),
    [
        (Loss(ENDPOINTS, (member(1),), has_quorum=False), False, None),
        (Loss(ENDPOINTS, (), has_quorum=False), False, None),
        (Loss(ENDPOINTS, (member(1), member(2)), has_quorum=True), True, "has a quorum"),
        (Loss(ENDPOINTS, (member(1), member(2)), has_quorum=False), False, "2 members still"),
        (Loss(ENDPOINTS, (member(1), member(2)), has_quorum=False), True, None),
        (Loss(ENDPOINTS[:1], (), has_quorum=False), False, "name all members"),
        (Loss(ENDPOINTS[:1], (), has_quorum=False), True, None),
    ],
)
def test_a_quorum_is_given_up_only_when_it_is_lost(
    loss: Loss, is_forced: bool, why_not: str | None
) -> None:
    said = objection(loss, is_forced=is_forced)
    assert (said is None) if why_not is None else (said is not None and why_not in said)


def test_members_are_found_in_a_members_own_data(tmp_path: Path) -> None:
    record = json.dumps({"name": "m1", "clientURLs": ["http://a:1", "http://b:2"]})
    record = record.replace(": [", ":[")
    for name, text in (
        ("snap/db", f'\0\1{record}\0clientURLs":[broken'),
        ("snap/1.snap", json.dumps({"v": record.replace("http://a:1", "https://c:3")})),
    ):
        path = tmp_path / "member" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert client_urls_in(tmp_path) == ("http://a:1", "http://b:2", "https://c:3")
    require_member(tmp_path)
    assert client_urls_in(tmp_path / "nothing") == ()
    with pytest.raises(ConfigError, match="holds no etcd member that we can read"):
        require_member(tmp_path / "nothing")


def test_programs_of_the_datas_own_version_are_taken() -> None:
    old = EtcdPrograms(Path("/usr/bin/etcd"), "3.4.23", Path("/usr/bin/etcdctl"))
    new = EtcdPrograms(Path("/opt/etcd"), "3.5.33", None)
    assert programs_for("3.5.1", [old, new]) is new
    assert programs_for("", [old, new]) is old
    assert restorer_of(old) == Path("/usr/bin/etcdctl")
    with pytest.raises(ConfigError, match=r"that of etcd 3\.6\.1, but here is only 3\.4\.23"):
        programs_for("3.6.1", [old, new])
    with pytest.raises(ConfigError, match="there is no etcd program here: install etcd"):
        programs_for("3.6.1", [])
    with pytest.raises(ConfigError, match="neither etcdutl nor etcdctl"):
        restorer_of(new)


def test_another_etcds_settings_are_kept_from_ours() -> None:
    environment = plain_environment({"PATH": "/bin", "ETCD_DATA_DIR": "/x", "ETCDCTL_CERT": "y"})
    assert environment == {"PATH": "/bin", "ETCDCTL_API": "3"}


def test_a_backup_is_whole_or_refused(tmp_path: Path) -> None:
    content = bytes(1024)
    whole = tmp_path / "whole.db"
    whole.write_bytes(content + hashlib.sha256(content).digest())
    backup = read_backup(whole)
    assert backup.sha256 == hashlib.sha256(content).hexdigest()
    assert token_of(backup) == f"restored-{backup.sha256[:16]}"
    for broken in (b"", b"short", whole.read_bytes()[:-1], whole.read_bytes()[1:] + b"x"):
        (tmp_path / "broken.db").write_bytes(broken)
        with pytest.raises(ConfigError, match="no whole backup"):
            read_backup(tmp_path / "broken.db")
    with pytest.raises(ConfigError, match="cannot read the backup"):
        read_backup(tmp_path / "none.db")


def test_nothing_is_restored_over_anything(tmp_path: Path) -> None:
    require_vacant(tmp_path / "new")
    (tmp_path / "empty").mkdir()
    require_vacant(tmp_path / "empty")
    with pytest.raises(ConfigError, match="move it away"):
        require_vacant(tmp_path)


def test_a_member_alone_is_its_own_cluster() -> None:
    assert Membership("m1", "http://m1:2380").initial_cluster == "m1=http://m1:2380"
    assert Membership("m1", "any", "m1=a,m2=b").initial_cluster == "m1=a,m2=b"


@pytest.mark.parametrize("others", [{}, {"etcdctl": "echo etcdctl version: 3.5.1"}])
def test_a_restorer_that_does_not_run_is_passed_over(
    tmp_path: Path, others: dict[str, str]
) -> None:
    said = {"etcd": "echo etcd Version: 3.5.1", "etcdutl": "exit 1", **others}
    for name, does in said.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    (found,) = installed_programs(tmp_path)
    assert found.restorer == (tmp_path / "etcdctl" if others else None)
