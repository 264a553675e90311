"""Which images to delete to make room. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from orchestrator.runtime.images.terms import StorageTerms


@dataclass(frozen=True, slots=True)
class Usage:
    """Of the file system, and of all layers on it."""

    total_bytes: int
    free_bytes: int
    layer_bytes: int

    def excess(self, terms: StorageTerms) -> int:
        """How many bytes to free so that the low marks are reached; 0 below the high ones."""
        used = self.total_bytes - self.free_bytes
        excess = 0.0
        if used > self.total_bytes * terms.high_percent / 100:
            excess = used - self.total_bytes * terms.low_percent / 100
        if terms.max_bytes and self.layer_bytes > terms.max_bytes:
            low = terms.max_bytes * terms.low_percent / terms.high_percent
            excess = max(excess, self.layer_bytes - low)
        return int(excess)


@dataclass(frozen=True, slots=True)
class Candidate:
    """An image that nothing uses. `used_at`: in seconds since 1970."""

    pinned: str
    layers: frozenset[str]
    used_at: float


def oldest_unused(
    candidates: Iterable[Candidate],
    kept_layers: Collection[str],
    layer_bytes: Mapping[str, int],
    excess: int,
) -> list[str]:
    """The images to delete, the longest unused first, until `excess` bytes are freed.

    `kept_layers` are those of images that stay in any case. A layer is freed with the last image
    that has it.
    """
    remaining = sorted(candidates, key=lambda each: (each.used_at, each.pinned))
    holders = Counter(layer for each in remaining for layer in each.layers)
    doomed: list[str] = []
    for each in remaining:
        if excess <= 0:
            break
        doomed.append(each.pinned)
        holders.subtract(each.layers)
        freed = (
            layer_bytes.get(layer, 0)
            for layer in each.layers
            if not holders[layer] and layer not in kept_layers
        )
        excess -= sum(freed)
    return doomed
