"""Keys: built and parsed the one way; whatever else lies under our root is a stranger."""

from __future__ import annotations

import pytest

from orchestrator.model.errors import ConfigError, StateError
from orchestrator.model.instance import InstanceName
from orchestrator.model.keys import (
    InstancePlace,
    Keys,
    Kind,
    ParsedKey,
    VolumePlace,
    is_dns_label,
)
from orchestrator.model.volume import VolumeName
from orchestrator.model.workload import WorkloadKey

KEYS = Keys()
WEB = WorkloadKey("default", "web")
PLACE = InstancePlace("node-1", InstanceName("default", "web", 0, 3))
VOLUME = VolumePlace("node-1", VolumeName("default", "web", 0, "content"))


def test_keys_are_where_the_design_puts_them() -> None:
    assert KEYS.schema == "/orchestrator/meta/schema"
    assert KEYS.leader == "/orchestrator/leader"
    assert KEYS.workload(WEB) == "/orchestrator/desired/workloads/default/web"
    assert KEYS.revision(WEB, 7) == "/orchestrator/desired/revisions/default/web/7"
    assert KEYS.desired_node("node-1") == "/orchestrator/desired/nodes/node-1"
    assert KEYS.assignment(PLACE) == "/orchestrator/desired/instances/node-1/default.web.0.3"
    assert KEYS.node_report("node-1") == "/orchestrator/observed/nodes/node-1"
    assert KEYS.session("node-1") == "/orchestrator/observed/sessions/node-1"
    assert KEYS.observation(PLACE) == "/orchestrator/observed/instances/node-1/default.web.0.3"
    assert KEYS.move(PLACE) == "/orchestrator/desired/moves/node-1/default.web.0.3"
    assert KEYS.workload_status(WEB) == "/orchestrator/observed/workloads/default/web"
    assert KEYS.volume(VOLUME) == "/orchestrator/observed/volumes/node-1/default.web.0.content"
    assert KEYS.image_pins(WEB, 7) == "/orchestrator/observed/images/default/web/7"
    assert KEYS.event(484_321, "a1") == "/orchestrator/events/484321/a1"


def test_a_key_tells_which_workload_it_is_a_part_of() -> None:
    keys = [KEYS.workload(WEB), KEYS.workload_status(WEB), KEYS.revision(WEB, 7)]
    keys += [KEYS.assignment(PLACE), KEYS.observation(PLACE), KEYS.move(PLACE)]
    keys += [KEYS.volume(VOLUME), KEYS.image_pins(WEB, 7)]
    assert {KEYS.parse(key).workload for key in keys} == {WEB}
    assert KEYS.parse(KEYS.session("node-1")).workload is None


def test_prefixes_hold_what_is_built_under_them() -> None:
    assert KEYS.assignment(PLACE).startswith(KEYS.assignments("node-1"))
    assert KEYS.observation(PLACE).startswith(KEYS.observations("node-1"))
    assert KEYS.volume(VOLUME).startswith(KEYS.volumes("node-1"))
    assert KEYS.revision(WEB, 1).startswith(KEYS.revisions(WEB))
    assert KEYS.workload(WEB).startswith(KEYS.folder(Kind.WORKLOAD))
    assert not KEYS.assignment(PLACE).startswith(KEYS.assignments("node"))


@pytest.mark.parametrize("root", ["", "/", "orchestrator/", "/orchestrator", "//", "/a b/", "/a//"])
def test_a_root_must_begin_and_end_with_a_slash(root: str) -> None:
    with pytest.raises(ConfigError, match="begins and ends with '/', as in /orchestrator/"):
        Keys(root)


def test_clusters_share_an_etcd_under_roots_of_their_own() -> None:
    blue, green = Keys("/blue/"), Keys("/teams/green/")
    assert blue.parse(blue.session("a")) == ParsedKey(Kind.SESSION, "a")
    with pytest.raises(StateError, match="is not under '/blue/'"):
        blue.parse(green.session("a"))


@pytest.mark.parametrize(
    "key",
    [
        "",
        "leader/",
        "meta",
        "meta/schema/x",
        "nonsense",
        "desired",
        "desired/workloads",
        "desired/workloads/default",
        "desired/workloads/default/web/x",
        "desired/workloads/Default/web",
        "desired/workloads/default/",
        "desired/nodes/",
        "desired/nodes/a/b",
        "desired/nodes/node_1",
        "desired/instances/node-1",
        "desired/instances/node-1/default.web.0.3/x",
        "desired/instances/node-1/default.web.00.3",
        "desired/instances/node-1/default.web.0",
        "desired/instances/node_1/default.web.0.3",
        "desired/instances/node-1/.web.0.3",
        "desired/instances/node-1/default.Web.0.3",
        "desired/instances/node-1/default.web.0.1234567890",
        "desired/revisions/default/web",
        "desired/revisions/default/web/x",
        "desired/revisions/default/web/07",
        "desired/revisions/default/web/-1",
        "desired/revisions/default/web/٣",
        f"desired/revisions/default/web/{'9' * 5000}",
        "observed/volumes/node-1",
        "observed/volumes/node-1/default.web.content",
        "observed/volumes/node-1/default.web.00.content",
        "observed/volumes/node-1/default.web.0.Content",
        "observed/volumes/node_1/default.web.0.content",
        "observed/volumes/node-1/default.web.0.content/x",
        "observed/images/default/web",
        "observed/images/default/web/01",
        "events/484321",
        "events/1/2/3",
        "observed/elsewhere/a",
        "caf\udce9/x",
    ],
)
def test_a_stranger_under_our_root(key: str) -> None:
    with pytest.raises(StateError):
        KEYS.parse(KEYS.root + key)


def test_dns_labels() -> None:
    assert all(map(is_dns_label, ["a", "0", "a-b", "a" * 63]))
    assert not any(map(is_dns_label, ["", "-a", "a-", "a" * 64, "A", "a.b", "a_b", "ä", "a\n"]))


def test_places_of_volumes_are_told_with_their_node() -> None:
    assert str(VOLUME) == "node-1/default.web.0.content"
