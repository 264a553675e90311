"""CNI configuration lists of operators, and what a plugin is given of one.

Shapes and rules are those of the CNI specification, versions 0.3 to 1.1.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from orchestrator.model.errors import ConfigError

KNOWN_VERSIONS = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
WITHOUT_RESULT_AT_DELETE = ("0.3.0", "0.3.1")
PORT_MAPPINGS = "portMappings"

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class NetworkList:
    name: str
    version: str
    plugins: tuple[Json, ...]

    @property
    def port_mapping(self) -> NetworkList | None:
        """Of its plugins those that map host ports. Where there is none, our own rules do."""
        mappers = tuple(
            each for each in self.plugins if each.get("capabilities", {}).get(PORT_MAPPINGS)
        )
        return replace(self, plugins=mappers) if mappers else None


def read_list(path: Path) -> NetworkList:
    """Raises `ConfigError`."""
    try:
        document = json.loads(path.read_text())
        problem = _problem(document)
    except (OSError, ValueError) as failure:
        problem = str(failure)
    if problem:
        raise ConfigError(f"{path} is no CNI configuration list: {problem}")
    return NetworkList(document["name"], document["cniVersion"], tuple(document["plugins"]))


def _problem(document: Any) -> str:
    if not isinstance(document, dict):
        return "it must be a JSON object"
    name, version, plugins = (document.get(key) for key in ("name", "cniVersion", "plugins"))
    if not isinstance(name, str) or not name:
        return '"name" must be the name of the network'
    if version not in KNOWN_VERSIONS:
        return f'"cniVersion" must be one of {", ".join(KNOWN_VERSIONS)}'
    if not isinstance(plugins, list) or not plugins or not all(map(_is_plugin, plugins)):
        return '"plugins" must be a list of objects, each with a "type", a program\'s name'
    return ""


def _is_plugin(each: Any) -> bool:
    kind = each.get("type") if isinstance(each, dict) else None
    return isinstance(kind, str) and kind != "" and "/" not in kind


def plugin_config(
    network: NetworkList, plugin: Json, previous: Json | None, arguments: Mapping[str, Any]
) -> Json:
    """What it reads from its standard input. Of `arguments`, by capability, it is given those
    that it declares."""
    config = {key: value for key, value in plugin.items() if key != "capabilities"}
    config |= {"name": network.name, "cniVersion": network.version}
    if previous is not None:
        config["prevResult"] = previous
    declared = plugin.get("capabilities", {})
    given = {key: value for key, value in arguments.items() if declared.get(key)}
    return config | ({"runtimeConfig": given} if given else {})
