"""A small manifest, and what is said of one that is wrong."""

from __future__ import annotations

import pytest

from orchestrator.model.manifest import parse_manifests
from orchestrator.model.problems import ManifestError

WEB = """\
name: web
containers:
  - name: server
    command: [sleep, "60"]
"""


def complaints(text: str, source: str = "web.yaml") -> list[str]:
    with pytest.raises(ManifestError) as caught:
        parse_manifests(text, source=source)
    return str(caught.value).splitlines()
