"""What an agent is told of its node: GPUs, resources of one's own, and what it keeps of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.agent.node_report import NodeProfile, node_report
from orchestrator.model.errors import ConfigError
from orchestrator.model.resources import NodeResources
from orchestrator.model.rules.resources import MAX_GPUS
from orchestrator.process.agent_settings import AgentSettings
from orchestrator.process.sources import load_settings
from orchestrator.runtime.protocol import RuntimeReport

PROCESSES = RuntimeReport(("process",), {})


def refusal(**flags: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_settings(AgentSettings, flags)
    return str(caught.value)


def test_flag_environment_and_file_say_it_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "agent.yaml"
    file.write_text(
        "gpus: [V100M16, T4]\nresources: {licence: 2}\nreserved_resources: {licence: 0.5}\n"
        "reserved_disk_mb: 10\n"
    )
    by_file = load_settings(AgentSettings, {}, file).settings
    monkeypatch.setenv("ORC_GPUS", "V100M16,T4")
    monkeypatch.setenv("ORC_RESOURCES", "licence=2")
    flags = {"reserved_resources": "licence=0.5", "reserved_disk_mb": "10"}
    assert load_settings(AgentSettings, flags).settings.model_dump() == by_file.model_dump()
    assert by_file.gpus == ("V100M16", "T4")
    assert by_file.resources == {"licence": 2.0}
    assert by_file.reserved_resources == {"licence": 0.5}
    assert by_file.reserved_disk_mb == 10.0


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("gpus", "Tesla T4", "'Tesla T4' is no model"),
        ("gpus", "nvidia.com/T4", "'nvidia.com/T4' is no model"),
        ("gpus", "V100M16,,T4", "'' is no model"),
        ("gpus", ",".join(["T4"] * (MAX_GPUS + 1)), "a node has at most 64 GPUs"),
        ("resources", "gpu=2", "list the models of the devices in gpus"),
        ("resources", "licence=0", "licence is 0: it must be above 0"),
        ("resources", "licence=-1", "licence is -1: it must be above 0"),
        ("resources", "licence=nan", "licence is nan: it must be"),
        ("resources", "licence=inf", "licence is inf: it must be"),
        ("resources", "licence=two", "valid number"),
        ("resources", "licence", "give name=value pairs"),
        ("resources", "memory-mb=5", "did you mean 'memory_mb'?"),
        ("resources", "a b=5", "its name must be letters"),
        ("reserved_resources", "gpu=1", "gpu cannot be reserved: take the device out of gpus"),
        ("reserved_resources", "licence=0", "licence is 0: it must be above 0"),
        ("reserved_disk_mb", "-1", "greater than or equal to 0"),
    ],
)
def test_what_will_not_do_is_told_in_a_sentence(name: str, value: str, said: str) -> None:
    text = refusal(**{name: value})
    assert text.startswith(f"--{name.replace('_', '-')}: ")
    assert said in text


def test_what_the_node_has_not_cannot_be_reserved() -> None:
    text = refusal(resources="licence=2", reserved_resources="license=1")
    assert text.startswith("reserved_resources names 'license', of which resources says nothing")


def test_a_node_offers_what_it_has_less_what_it_keeps(tmp_path: Path) -> None:
    profile = NodeProfile(
        "http://n1",
        reserved=NodeResources(disk_mb=5, custom={"licence": 0.5, "slots": 9}),
        gpus=("V100M16", "T4"),
        resources={"licence": 2, "slots": 4},
    )
    report = node_report(profile, PROCESSES, tmp_path)
    assert report.gpus == ("V100M16", "T4")
    assert report.capacity.custom == {"gpu": 2, "licence": 2, "slots": 4}
    assert report.allocatable.custom == {"gpu": 2, "licence": 1.5, "slots": 0}
    assert report.allocatable.disk_mb == report.capacity.disk_mb - 5
    assert report.images == ()


def test_a_node_without_gpus_does_not_speak_of_them(tmp_path: Path) -> None:
    report = node_report(NodeProfile("http://n1"), PROCESSES, tmp_path)
    assert report.capacity.custom == report.allocatable.custom == {}
    assert report.gpus == ()


def test_more_may_be_kept_than_there_is(tmp_path: Path) -> None:
    everything = NodeResources(cpu_cores=1e9, memory_mb=1e12, disk_mb=1e12)
    report = node_report(NodeProfile("http://n1", reserved=everything), PROCESSES, tmp_path)
    assert report.allocatable == NodeResources()
