"""A client of CNI plugins: runs the plugins of a list in their order, as the specification says.

What it is told to remember (`Attachment`) is the caller's to keep.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.model import errors
from orchestrator.runtime.network.conflist import (
    WITHOUT_RESULT_AT_DELETE,
    Json,
    NetworkList,
    plugin_config,
)
from orchestrator.runtime.programs import Ended, Programs

INTERFACE = "eth0"


@dataclass(frozen=True, slots=True)
class Subject:
    """What is attached: `id` by the plugins' own books, `namespace` empty if it is gone."""

    id: str
    namespace: str


class CniClient:
    def __init__(
        self, programs: Programs, bin_dirs: Sequence[Path], timeout_seconds: float
    ) -> None:
        self._programs = programs
        self._path = os.pathsep.join(map(str, bin_dirs))
        self._timeout_seconds = timeout_seconds

    def check_plugins(self, network: NetworkList) -> None:
        """Raises `RuntimeError` if one is missing."""
        for plugin in network.plugins:
            self._find(plugin["type"])
            if "type" in plugin.get("ipam", {}):
                self._find(plugin["ipam"]["type"])

    async def add(
        self,
        network: NetworkList,
        subject: Subject,
        *,
        previous: Json | None = None,
        arguments: Mapping[str, Any] | None = None,
    ) -> Json:
        """The result of the last plugin. Raises `RuntimeError` with the words of the one that
        failed; what the others did until then is for `delete` to undo."""
        for plugin in network.plugins:
            config = plugin_config(network, plugin, previous, arguments or {})
            previous = await self._run("ADD", plugin["type"], config, subject) or previous
        if previous is None:
            raise errors.RuntimeError(f"the CNI plugins of {network.name} have given no result")
        return previous

    async def delete(
        self,
        network: NetworkList,
        subject: Subject,
        *,
        result: Json | None,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        """May be repeated. `result` is what `add` gave, if it came to that. Raises as `add`."""
        previous = None if network.version in WITHOUT_RESULT_AT_DELETE else result
        for plugin in reversed(network.plugins):
            config = plugin_config(network, plugin, previous, arguments or {})
            await self._run("DEL", plugin["type"], config, subject)

    async def _run(self, command: str, kind: str, config: Json, subject: Subject) -> Json | None:
        environment = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": subject.id,
            "CNI_NETNS": subject.namespace,
            "CNI_IFNAME": INTERFACE,
            "CNI_PATH": self._path,
        }
        program, given = self._find(kind), json.dumps(config).encode()
        try:
            ended = await self._programs.run([program], given, self._timeout_seconds, environment)
        except TimeoutError:
            raise errors.RuntimeError(
                f"the CNI plugin {kind} has not finished {command} within"
                f" {self._timeout_seconds:g} seconds and was killed"
            ) from None
        except OSError as failure:
            raise errors.RuntimeError(
                f"the CNI plugin {program} cannot be run: {failure.strerror}"
            ) from failure
        return _answer(kind, command, ended)

    def _find(self, kind: str) -> str:
        program = shutil.which(kind, path=self._path)
        if program is None:
            raise errors.RuntimeError(
                f"there is no CNI plugin {kind} in {self._path.replace(os.pathsep, ' or ')}:"
                " install it (Debian's package containernetworking-plugins), or set where it is"
                " by --cni-bin-dir"
            )
        return program


def _answer(kind: str, command: str, ended: Ended) -> Json | None:
    """What it has said, if anything. Raises `RuntimeError` if it was of a failure."""
    try:
        answer = json.loads(ended.output) if ended.output.strip() else None
    except ValueError:
        answer = None
    if ended.status == 0:
        return answer if isinstance(answer, dict) else None
    raise errors.RuntimeError(
        f"the CNI plugin {kind} has failed at {command}: {_words(answer, ended)}"
    )


def _words(answer: Any, ended: Ended) -> str:
    if isinstance(answer, dict) and answer.get("msg"):
        return "; ".join(str(answer[key]) for key in ("msg", "details") if answer.get(key))
    if ended.status < 0:
        return f"it was ended by signal {-ended.status}"
    last = ended.complaint.splitlines()[-1:] or [f"exit code {ended.status}"]
    return last[0]
