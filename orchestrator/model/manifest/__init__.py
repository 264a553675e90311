"""Manifests: workload definitions as people write them, read with all their mistakes at once.

`documents` makes trees of text, `values` and `reader` make definitions of trees, `definitions`
is what others call.
"""

from orchestrator.model.manifest.definitions import (
    definition_from_json,
    parse_manifests,
    to_document,
    to_manifest,
)

__all__ = ["definition_from_json", "parse_manifests", "to_document", "to_manifest"]
