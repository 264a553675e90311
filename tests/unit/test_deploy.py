"""What is shipped for real installs is what this version understands."""

from __future__ import annotations

import re
import shutil
import subprocess
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

from orchestrator.local.ports import PortPlan
from orchestrator.process.agent_settings import AgentSettings
from orchestrator.process.settings import ProcessSettings
from orchestrator.process.sources import load_settings
from orchestrator.process.upkeep_settings import ReplicaSettings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
README = (ROOT / "README.md").read_text()


def test_prometheus_takes_the_configuration_and_the_rules() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool here: install Debian's prometheus")
    config = DEPLOY / "prometheus" / "prometheus.yml"
    checked = subprocess.run([promtool, "check", "config", config], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "rules found" in checked.stdout


def test_prometheus_scrapes_the_default_ports_of_orc_up() -> None:
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    scraped = {
        target
        for job in config["scrape_configs"]
        for group in job["static_configs"]
        for target in group["targets"]
    }
    plan = PortPlan(7400, controllers=3, agents=3, etcd_members=0)
    assert scraped == {str(address) for address in plan.wanted()}


@pytest.mark.parametrize(
    ("kind", "name"), [(ReplicaSettings, "controller"), (AgentSettings, "agent")]
)
def test_the_example_settings_are_understood(
    kind: type[ProcessSettings], name: str, tmp_path: Path
) -> None:
    text = (DEPLOY / "systemd" / f"{name}.yaml").read_text()
    text = re.sub(r"^# (?=\w+: )", "", text, flags=re.M)  # with what only some nodes need
    for word in set(text.split()):
        if word.startswith("/etc/orchestrator/") and not word.endswith(":"):
            file = tmp_path / Path(word).name
            file.touch()
            text = text.replace(word, str(file))
    settings_file = tmp_path / f"{name}.yaml"
    settings_file.write_text(text)
    settings = load_settings(kind, {}, settings_file).settings
    assert settings.model_dump()["etcd_endpoints"][0] == "https://m1.example:2379"


@pytest.mark.parametrize("name", ["controller", "agent"])
def test_the_units_start_what_there_is(name: str) -> None:
    unit = (DEPLOY / "systemd" / f"orchestrator-{name}.service").read_text()
    assert f"/bin/orc {name} --config /etc/orchestrator/{name}.yaml" in unit
    assert "Restart=on-failure" in unit
    for of_instances in ("KillMode=process", "OOMPolicy=continue", "TasksMax=infinity"):
        assert (of_instances in unit) == (name == "agent")


def test_the_readme_creates_the_user_of_the_units() -> None:
    wanted = set()
    for unit in (DEPLOY / "systemd").glob("*.service"):
        wanted |= set(
            re.findall(r"^(?:User|Group|SupplementaryGroups)=(.*)$", unit.read_text(), re.M)
        )
    created = re.findall(r"^ *sudo useradd --system --user-group .* (\S+)$", README, re.M)
    assert wanted == set(created)


def test_the_readme_installs_every_file_that_the_examples_name() -> None:
    named = {
        Path(name).name
        for example in (DEPLOY / "systemd").glob("*.yaml")
        for name in re.findall(r"/etc/orchestrator/(\S+[^:\s])", example.read_text())
    }
    (line,) = re.findall(r"^ *sudo install -m 0640 -g orchestrator (.*) /etc/", README, re.M)
    assert len(named) > 5
    assert [name for name in named if not any(fnmatch(name, each) for each in line.split())] == []
