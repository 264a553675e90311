"""`orc whatif`, `move` and `rebalance`, against the API itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.cli.client import ApiClient
from orchestrator.cli.commands.rebalance import carry_out
from orchestrator.cli.errors import Refused
from orchestrator.cli.forecasts import critical_text, forecast_text, gist, rebalance_text
from orchestrator.model.forecast import Fate, Forecast, InstanceForecast, WorkloadForecast
from orchestrator.model.instance import InstanceName
from orchestrator.model.keys import InstancePlace
from orchestrator.model.moves import Rebalance
from orchestrator.model.node import NodeReport
from orchestrator.model.resources import NodeResources
from tests.support.api import KEYS
from tests.support.orc import WEB, Orc
from tests.support.served_api import ServedApi

PLACE = InstancePlace("n1", InstanceName("default", "web", 0, 1))
FOUR = WEB.replace("replicas: 3", "replicas: 4\nmin_available: 0").replace(
    "command: [serve]", "command: [serve]\n    resource_requests: {cpu_cores: 1}"
)


@pytest.fixture
def api() -> Iterator[ServedApi]:
    """Four instances that fill n1, and n2 that is empty."""
    with ServedApi() as served:
        served.add_node("n1")
        served.add_node("n2")
        Orc(served.servers).succeeds("apply", "-f", "-", stdin=FOUR)
        for slot in range(4):
            served.add_instance(f"default.web.{slot}.1", "n1")
        yield served


@pytest.fixture
def orc(api: ServedApi) -> Orc:
    return Orc(api.servers)


def test_a_forecast_is_a_gist_and_tables(api: ServedApi, orc: Orc) -> None:
    revision = api.revision
    told = orc.succeeds("whatif", "lose", "n1").splitlines()
    assert told[0] == "4 instances: 4 moved; done after 30 s"
    rows = [line.split() for line in told]
    assert ["CHANGE", "INSTANCE", "FROM", "TO", "REASON"] in rows
    assert [row[:4] for row in rows if row[:1] == ["moved"]] == [
        ["moved", f"default.web.{slot}.2", "n1", "n2"] for slot in range(4)
    ]
    assert ["default/web", "4", "4", "0", "4", "0", "-"] in rows
    assert ["n1", "4->0", "100%->-"] in rows
    assert ["n2", "0->4", "0%->100%"] in rows
    assert api.revision == revision


def test_the_same_as_json(orc: Orc) -> None:
    told = json.loads(orc.succeeds("whatif", "scale", "web", "5", "-o", "json"))
    assert [each["instance"] for each in told["instances"]] == ["default.web.4.1"]


@pytest.mark.parametrize(
    ("arguments", "first"),
    [
        (("drain", "n1"), "4 instances: 4 moved"),
        (("drain", "n1", "n2"), "4 instances: 4 stopped; 4 instances would not run in the end"),
        (("add", "2", "--like", "n1"), "nothing changes"),
        (("lose", "n1", "--for-good"), "4 instances: 4 moved"),
        (("scale", "default/web", "2"), "2 instances: 2 stopped"),
    ],
)
def test_each_kind_of_change(orc: Orc, arguments: tuple[str, ...], first: str) -> None:
    assert orc.succeeds("whatif", *arguments).splitlines()[0] == first


def test_manifests_are_applied_all_at_once(orc: Orc, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_text(WEB.replace("web", name))
    told = orc.succeeds("whatif", "apply", "-f", str(tmp_path))
    assert told.splitlines()[0] == "6 instances: 6 placed"


def test_critical_nodes_are_listed_with_what_is_stranded(api: ServedApi, orc: Orc) -> None:
    assert orc.succeeds("whatif", "critical") == "any single node can be lost\n"
    assert json.loads(orc.succeeds("whatif", "critical", "-o", "json")) == []
    api.put(KEYS.node_report("n2"), _report_of_a_small_node())
    head, row = orc.succeeds("whatif", "critical").splitlines()
    assert head.split() == ["NODE", "WORKLOAD", "STRANDED", "REASON"]
    assert row.split()[:3] == ["n1", "default/web", "3"]


def _report_of_a_small_node() -> NodeReport:
    has = NodeResources(cpu_cores=1, memory_mb=4000)
    return NodeReport("http://n2", has, has)


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("whatif", "lose", "elsewhere"), 4, "there is no node elsewhere"),
        (("whatif", "lose"), 2, "Missing argument"),
        (("whatif", "scale", "wep", "3"), 4, "there is no workload default/wep"),
        (("whatif", "scale", "web", "-1"), 2, "-1"),
        (("whatif", "scale", "web", "1000000"), 1, "it must be 0 to 100000"),
        (("whatif", "add", "0", "--like", "n1"), 2, "0"),
        (("whatif", "add", "5000", "--like", "n1"), 1, "5000 new nodes: it must be 1 to 1000"),
        (("whatif", "add", "5"), 2, "--like"),
        (("whatif", "apply"), 2, "name a manifest"),
        (("move", "default.web.8.1"), 4, "there is no instance default.web.8.1"),
        (("move", "default.web.0.1", "--to", "n1"), 1, "is on n1 already"),
        (("move", "default.web.0.1", "--to", "n2", "--undo"), 2, "leave out --to"),
        (("move", "default.web.0.1", "--undo"), 4, "nobody wants default.web.0.1 to move"),
        (("rebalance", "--target", "101"), 2, "101"),
        (("rebalance", "--max-moves", "0"), 2, "0"),
    ],
)
def test_what_is_wrong_is_told_in_a_sentence(
    orc: Orc, arguments: tuple[str, ...], code: int, sentence: str
) -> None:
    result = orc(*arguments)
    assert result.exit_code == code, result.output
    assert sentence in result.stderr


def test_an_instance_is_to_be_moved_and_is_left_where_it_is(orc: Orc) -> None:
    assert orc.succeeds("move", "default.web.0.1", "--to", "n2") == (
        "instance default.web.0.1 is to be moved (n1 -> n2: by request)\n"
    )
    assert orc.succeeds("move", "default.web.0.1") == (
        "instance default.web.0.1 is to be moved already\n"
    )
    assert orc.succeeds("move", "default.web.0.1", "--undo") == (
        "instance default.web.0.1 is not to be moved after all\n"
    )


def test_a_rebalance_moves_nothing_unless_it_is_told_to(api: ServedApi, orc: Orc) -> None:
    revision = api.revision
    told = orc.succeeds("rebalance").splitlines()
    assert told[0].split() == ["INSTANCE", "FROM", "TO", "REASON"]
    assert told[-2:] == [
        "2 moves: the imbalance goes from 100% to 0%",
        "nothing was moved: say it with --yes",
    ]
    assert api.revision == revision
    result = orc("rebalance", "--yes", "-o", "json")
    assert (result.exit_code, result.stderr) == (0, "2 instances are to be moved\n")
    assert len(json.loads(result.stdout)["moves"]) == 2
    assert api.revision > revision
    assert orc.succeeds("rebalance", "--yes") == (
        "the imbalance is 100%, and no move that is allowed would lower it\n"
    )


def test_moves_that_are_refused_are_told_with_the_reason(api: ServedApi) -> None:
    async def plan_and_be_late() -> None:
        async with ApiClient(api.servers) as client:
            planned = await client.plan_rebalance(0, 1)
            await asyncio.to_thread(api.drop, KEYS.assignment(PLACE))
            await carry_out(client, planned)

    with pytest.raises(Refused, match="1 moves were refused") as refused:
        asyncio.run(plan_and_be_late())
    [told] = refused.value.problems
    assert told.startswith("default.web.0.1: default.web.0.1 has changed since the move")


def test_the_gist_names_all_that_matters() -> None:
    lost = InstanceForecast(Fate.LOST, "default.web.0.1", "so", "n1")
    short = WorkloadForecast("default/web", 3, 3, 1, 2, 2, ("no room",), ("a smaller one fits",))
    forecast = Forecast(False, 30.0, (lost,), (short,))
    assert gist(forecast) == (
        "1 instance: 1 lost; done after 30 s; 1 instance would not run in the end; below the"
        " minimum on the way: default/web; more would follow than was looked at"
    )
    assert "What would help" in forecast_text(forecast)
    assert "default/web: a smaller one fits" in forecast_text(forecast)
    assert gist(Forecast(True, 0.0)) == "nothing changes"


def test_what_is_in_balance_needs_no_moves() -> None:
    assert rebalance_text(Rebalance(50, 50, 100)) == "the imbalance is 5%, as it should be"
    assert critical_text(()) == "any single node can be lost"
