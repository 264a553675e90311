"""What if? What the leader would do about changes that nobody has made.

It is the very planner that answers, on a copy of the state, as if no agent failed and nobody
changed anything else meanwhile. Whatever is under way already comes to its end in the forecast,
too. Nothing is written.
"""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.model.forecast import Forecast
from orchestrator.planning.findings import findings
from orchestrator.planning.hypotheses import Hypothesis, check_new_nodes, suppose
from orchestrator.planning.simulation import Brain, Scene, settle


def simulate(scene: Scene, now: float, brain: Brain, hypotheses: Sequence[Hypothesis]) -> Forecast:
    """What would come of all `hypotheses` at once; `scene` is left as it is.

    Raises what `suppose` does.
    """
    check_new_nodes(hypotheses)
    after = scene.fork()
    before = after.occupancy.snapshot().copy()
    for hypothesis in hypotheses:
        suppose(after.state, hypothesis, now)
    made = settle(after, now, brain)
    return findings(scene.state, now, before, made, brain.scheduler)
