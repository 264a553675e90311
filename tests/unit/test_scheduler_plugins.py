"""Plug-ins: found by name, asked with columns, and never believed blindly."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from orchestrator.controller.plugins import (
    REST_SECONDS,
    Patience,
    TimedFilter,
    TimedScore,
    load_filters,
    load_scores,
)
from orchestrator.model.errors import ConfigError
from orchestrator.model.explanation import Explanation
from orchestrator.model.instance import InstanceName
from orchestrator.model.workload import WorkloadKey
from orchestrator.process.clock import boottime
from orchestrator.scheduler.explain import explain
from orchestrator.scheduler.facts import Column, Mask, NodeFacts
from orchestrator.scheduler.protocol import (
    AssignNode,
    NoPlacement,
    ScheduleDecision,
    ScheduleRequest,
    Shape,
)
from orchestrator.scheduler.snapshot import Snapshot
from orchestrator.scheduler.vector import VectorScheduler

EXAMPLE = Path(__file__).parents[2] / "deploy" / "examples" / "scheduler-plugin"
WEB = Shape(WorkloadKey("default", "web"))
OTHER = Shape(WorkloadKey("default", "other"))


def nodes() -> Snapshot:
    labels = ({"power-price": "90"}, {"power-price": "20"}, {"maintenance": "", "power-price": "1"})
    return Snapshot.of((NodeFacts(f"n{at}", {}, labels=each) for at, each in enumerate(labels)), {})


def decided(scheduler: VectorScheduler, *shapes: Shape) -> list[ScheduleDecision]:
    requests = [ScheduleRequest(InstanceName(*each.workload, 0, 1), each) for each in shapes]
    return scheduler.schedule(requests, nodes())


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The example as pip would leave it: its package, and metadata with its entry points."""
    entries = (EXAMPLE / "pyproject.toml").read_text().split("[project.entry-points.")[1:]
    lines = [each.split("[tool.")[0].replace('"]', "]").replace('"', "") for each in entries]
    metadata = tmp_path / "example_scheduler_plugin-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: example\nVersion: 1.0\n")
    broken = "[orchestrator.scheduler.filters]\nbroken = example_scheduler_plugin:Missing\n"
    text = "".join(f"[{each}" for each in lines)
    (metadata / "entry_points.txt").write_text(
        text.replace("[orchestrator.scheduler.filters]\n", broken)
    )
    monkeypatch.syspath_prepend(str(EXAMPLE))
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    yield
    sys.modules.pop("example_scheduler_plugin", None)


@pytest.mark.usefixtures("installed")
def test_the_example_is_found_by_its_names_and_decides() -> None:
    scheduler = VectorScheduler(
        filters=load_filters(["maintenance-window"], boottime),
        scores=load_scores(["cheap-power"], boottime),
    )
    (cheap,) = decided(scheduler, WEB)
    assert cheap == AssignNode(
        "n1", "of 2 nodes that fit, n1 is preferred most (+80 points) and has the fewest of it (0)"
    )
    interruptible = Shape(WEB.workload, labels={"interruptible": "yes"})
    (anywhere,) = decided(scheduler, interruptible)
    assert isinstance(anywhere, AssignNode)
    assert anywhere.node == "n2"


@pytest.mark.usefixtures("installed")
def test_a_filter_is_named_where_it_refuses() -> None:
    filters = load_filters(["maintenance-window"], boottime)
    answers = explain(nodes(), WEB, filters).nodes
    assert answers[2].refusals == ("is refused by the plug-in maintenance-window",)


@pytest.mark.usefixtures("installed")
def test_unknown_and_broken_ones_are_refused_at_the_start() -> None:
    with pytest.raises(ConfigError, match="did you mean 'maintenance-window'"):
        load_filters(["maintenance-windows"], boottime)
    with pytest.raises(ConfigError, match="installed are: cheap-power"):
        load_scores(["x"], boottime)
    with pytest.raises(ConfigError, match="'broken' cannot be loaded: AttributeError"):
        load_filters(["broken"], boottime)


@dataclass
class Answering:
    """Says of `web` what it is told to say; of others nothing bad."""

    answer: object
    name: str = "odd"

    def passes(self, snapshot: Snapshot, shape: Shape) -> object:
        if shape.workload != WEB.workload:
            return np.ones(len(snapshot.facts), dtype=np.bool_)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def points(self, snapshot: Snapshot, shape: Shape) -> object:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (ValueError("no idea"), "the plug-in odd has failed: ValueError: no idea"),
        (
            np.ones(2, dtype=np.bool_),
            "the filter plug-in odd must give 3 truth values, not bool of shape (2,)",
        ),
        (
            np.ones(3),
            "the filter plug-in odd must give 3 truth values, not float64 of shape (3,)",
        ),
    ],
)
def test_a_bad_filter_costs_its_own_workloads_a_reason(answer: object, sentence: str) -> None:
    scheduler = VectorScheduler(filters=(Answering(answer),))  # type: ignore[arg-type]
    bad, good = decided(scheduler, WEB, OTHER)
    assert bad == NoPlacement(sentence)
    assert isinstance(good, AssignNode)
    request = ScheduleRequest(InstanceName(*WEB.workload, 0, 1), WEB)
    assert scheduler.explain(request, nodes()) == Explanation(sentence, (), ())


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (ValueError("no idea"), "the plug-in odd has failed: ValueError: no idea"),
        (
            [1.0, float("nan"), 2.0],
            "the score plug-in odd gives nan points to n1: it must be 0 to 100",
        ),
        ([1, -1, 2], "the score plug-in odd gives -1 points to n1: it must be 0 to 100"),
        ([1, 2, 101], "the score plug-in odd gives 101 points to n2: it must be 0 to 100"),
        ([1, 2], "the score plug-in odd must give 3 numbers, not int64 of shape (2,)"),
        (["a", "b", "c"], "the score plug-in odd must give 3 numbers, not <U1 of shape (3,)"),
    ],
)
def test_a_bad_score_is_done_without_and_the_reason_says_so(answer: object, sentence: str) -> None:
    scheduler = VectorScheduler(scores=(Answering(answer),))  # type: ignore[arg-type]
    (decision,) = decided(scheduler, WEB)
    assert decision == AssignNode(
        "n0", f"of 3 nodes that fit, n0 has the fewest of it (0); {sentence}"
    )


@dataclass
class Stalling:
    """Thinks for ever, and will not be interrupted the first time."""

    name: str = "slow"
    asked: list[str] = field(default_factory=list)

    def passes(self, _snapshot: Snapshot, shape: Shape) -> Mask:
        self.asked.append(shape.workload.name)
        try:
            _spin()
        except Exception:
            _spin()

    def points(self, snapshot: Snapshot, shape: Shape) -> Column:
        return self.passes(snapshot, shape).astype(np.int64)


def _spin() -> NoReturn:
    while True:
        pass


@pytest.mark.slow
def test_one_that_stalls_is_broken_off_and_left_alone_for_a_while() -> None:
    slow = Stalling()
    now = [0.0]
    ticks = iter(range(10**9))

    def clock() -> float:
        """The time that has passed by its own: the alarm's clock is the real one."""
        return now[0] + next(ticks) * 1e-6

    filters = (TimedFilter("slow", slow, Patience("slow", clock)),)
    scheduler = VectorScheduler(filters=filters)
    told = "the plug-in slow takes more than 0.5 s in 2: it is not asked again for 60 s"
    assert decided(scheduler, WEB, OTHER) == [NoPlacement(told), NoPlacement(told)]
    assert slow.asked == ["other"]
    now[0] += REST_SECONDS + 1
    decided(scheduler, WEB)
    assert slow.asked == ["other", "web"]
    scores = (TimedScore("slow", slow, Patience("slow", clock)),)
    (decision,) = decided(VectorScheduler(scores=scores), WEB)
    assert decision == AssignNode("n0", f"of 3 nodes that fit, n0 has the fewest of it (0); {told}")


def test_thinking_ahead_in_a_thread_costs_nothing_of_the_leaders_share() -> None:
    """What-if asks the same plug-ins; only the main thread renews the lease."""
    now = [0.0]
    patience = Patience("slow", lambda: now[0])

    def think_for_long() -> None:
        with patience.limited():
            now[0] += 10.0

    thread = threading.Thread(target=think_for_long)
    thread.start()
    thread.join()
    assert now == [10.0]
    with patience.limited():
        now[0] += 0.1


@pytest.mark.slow
def test_one_that_stalls_in_a_thread_is_broken_off_too_and_the_leader_still_asks_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("orchestrator.controller.plugins.PATIENT_SECONDS", 0.2)
    slow = Stalling()
    filters = (TimedFilter("slow", slow, Patience("slow", lambda: 0.0)),)
    scheduler = VectorScheduler(filters=filters)
    with ThreadPoolExecutor(1) as threads:
        decisions = threads.submit(decided, scheduler, WEB, OTHER).result()
    told = "the plug-in slow takes more than 0.2 s: it is not asked again for 60 s"
    assert decisions == [NoPlacement(told), NoPlacement(told)]
    assert slow.asked == ["other"]
    decided(scheduler, WEB)
    assert slow.asked == ["other", "web"]
