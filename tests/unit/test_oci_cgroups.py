"""A container's cgroup as its files tell, in both versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.runtime.oci.cgroups import Cgroup, Usage, has_swap_limit, is_unified

FILES_OF_V1 = {
    "memory/o/x/memory.usage_in_bytes": "9000\n",
    "memory/o/x/memory.stat": "cache 5\ntotal_inactive_file 4000\n",
    "memory/o/x/memory.limit_in_bytes": "9223372036854771712\n",
    "memory/o/x/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
    "cpuacct/o/x/cpuacct.usage": "2500000000\n",
    "pids/o/x/pids.current": "3\n",
    "pids/o/x/cgroup.procs": "12\n11\n",
    "pids/o/x/below/cgroup.procs": "13\n",
}
FILES_OF_V2 = {
    "cgroup.controllers": "cpu memory pids\n",
    "o/x/memory.current": "9000\n",
    "o/x/memory.stat": "anon 1\ninactive_file 4000\n",
    "o/x/memory.max": "64000\n",
    "o/x/memory.events": "low 0\noom 3\noom_kill 2\n",
    "o/x/cpu.stat": "usage_usec 2500000\n",
    "o/x/pids.current": "3\n",
    "o/x/cgroup.procs": "12\n11\n",
    "o/x/below/cgroup.procs": "13\n",
}


def written(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(("files", "limit"), [(FILES_OF_V1, None), (FILES_OF_V2, 64_000)])
def test_files_tell(tmp_path: Path, files: dict[str, str], limit: int | None) -> None:
    cgroup = Cgroup("/o/x", written(tmp_path, files))
    assert cgroup.usage() == Usage(2.5, 5000, limit, 3)
    assert cgroup.oom_kills() == 2
    assert cgroup.pids() == [11, 12, 13]


def test_one_that_cannot_be_read_hides_no_other(tmp_path: Path) -> None:
    root = written(tmp_path, FILES_OF_V2)
    for name in ("a", "z"):
        (root / "o/x" / name / "cgroup.procs").mkdir(parents=True)
    assert Cgroup("/o/x", root).pids() == [11, 12, 13]


@pytest.mark.parametrize("files", [{"pids/o/y": ""}, {"cgroup.controllers": "pids"}])
def test_nothing_is_there_any_more(tmp_path: Path, files: dict[str, str]) -> None:
    cgroup = Cgroup("/o/x", written(tmp_path, files))
    assert (cgroup.usage(), cgroup.oom_kills(), cgroup.pids()) == (None, 0, [])
    assert cgroup.remove()


def test_versions_are_told_apart(tmp_path: Path) -> None:
    assert not is_unified(tmp_path)
    assert not has_swap_limit(tmp_path)
    written(tmp_path, {"memory/memory.memsw.limit_in_bytes": "1"})
    assert has_swap_limit(tmp_path)
    assert is_unified(written(tmp_path, FILES_OF_V2))


def test_empty_directories_are_removed(tmp_path: Path) -> None:
    for controller in ("memory", "pids"):
        (tmp_path / controller / "o/x/below").mkdir(parents=True)
    assert Cgroup("/o/x", tmp_path).remove()
    assert not (tmp_path / "pids/o/x").exists()
