"""An unfenced write by the leader does not type-check."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

SNIPPET = """
from store.commit import commit_as_leader
from store.patience import Patience
from store.protocol import Store
from store.transactions import Fence, Leadership, Put, SessionFence, Transaction, batched

PUT = Put("/orchestrator/desired/instances/n1/default.web.0.1", b"{}", 0)


async def write(store: Store, patience: Patience, leadership: Leadership) -> None:
    fence = Fence("/orchestrator/leader", 7)
    session = SessionFence("/orchestrator/observed/sessions/n1", 7)
    await commit_as_leader(store, Transaction((PUT,), "op", leadership), patience)
    await commit_as_leader(store, Transaction((PUT,), "op", None), patience)  # unfenced
    await commit_as_leader(store, Transaction((PUT,), "op", fence), patience)  # unfenced
    await commit_as_leader(store, Transaction((PUT,), "op", session), patience)  # unfenced
    for batch in batched([(PUT,)], leadership, str):
        await commit_as_leader(store, batch, patience)
    for loose in batched([(PUT,)], None, str):
        await commit_as_leader(store, loose, patience)  # unfenced
"""


def test_what_the_leader_writes_without_its_leadership_does_not_type_check(tmp_path: Path) -> None:
    path = tmp_path / "snippet.py"
    path.write_text(SNIPPET)
    unfenced = {
        number for number, line in enumerate(SNIPPET.splitlines(), 1) if "# unfenced" in line
    }
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    refused = re.findall(r"snippet\.py:(\d+): error: .*\[(\S+)\]", checked.stdout)
    assert {int(number) for number, _ in refused} == unfenced, checked.stdout + checked.stderr
    assert {kind for _, kind in refused} == {"arg-type"}
