"""What others may add to the scheduler: filters and preferences of their own.

A plug-in sees the columns of a `Snapshot` and answers for all nodes at once. It is asked once for
each batch of like instances. It is foreign code: what it answers is checked, and what it raises
becomes one sentence, so that a bad one costs its own workloads a reason and nobody else anything.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from orchestrator.scheduler.facts import Column, Mask
from orchestrator.scheduler.protocol import Shape
from orchestrator.scheduler.snapshot import Snapshot

MOST_PLUGIN_POINTS = 100
"""As much as the heaviest preference of a workload."""


class FilterPlugin(Protocol):
    """Which nodes may take the shape: a truth value for each of `snapshot.facts.names`."""

    @property
    def name(self) -> str: ...

    def passes(self, snapshot: Snapshot, shape: Shape) -> Mask: ...


class ScorePlugin(Protocol):
    """What each node is worth to the shape: 0 to 100 points for each of `snapshot.facts.names`."""

    @property
    def name(self) -> str: ...

    def points(self, snapshot: Snapshot, shape: Shape) -> Column: ...


class PluginError(Exception):
    """One sentence on what is wrong with a plug-in's answer."""


def passed(plugin: FilterPlugin, snapshot: Snapshot, shape: Shape) -> Mask:
    """Raises `PluginError` for anything but a column of truth values."""
    try:
        answer = np.asarray(plugin.passes(snapshot, shape))
    except PluginError:
        raise
    except Exception as error:  # foreign code: whatever it raises is its own fault
        raise PluginError(_raised(plugin.name, error)) from error
    if answer.shape != (len(snapshot.facts),) or answer.dtype != np.bool_:
        raise PluginError(
            f"the filter plug-in {plugin.name} must give {len(snapshot.facts)} truth values, not"
            f" {answer.dtype} of shape {answer.shape}"
        )
    return answer


def scored(plugin: ScorePlugin, snapshot: Snapshot, shape: Shape) -> Column:
    """Whole points. Raises `PluginError` for anything but a column of numbers from 0 to 100."""
    try:
        answer = np.asarray(plugin.points(snapshot, shape))
    except PluginError:
        raise
    except Exception as error:
        raise PluginError(_raised(plugin.name, error)) from error
    is_number = answer.dtype.kind in "iuf"
    if answer.shape != (len(snapshot.facts),) or not is_number:
        raise PluginError(
            f"the score plug-in {plugin.name} must give {len(snapshot.facts)} numbers, not"
            f" {answer.dtype} of shape {answer.shape}"
        )
    is_sane = (answer >= 0) & (answer <= MOST_PLUGIN_POINTS)  # false for NaN
    if not is_sane.all():
        at = int(np.argmin(is_sane))
        raise PluginError(
            f"the score plug-in {plugin.name} gives {answer[at]} points to"
            f" {snapshot.facts.names[at]}: it must be 0 to {MOST_PLUGIN_POINTS}"
        )
    return np.rint(answer).astype(np.int64)


def _raised(name: str, error: Exception) -> str:
    return f"the plug-in {name} has failed: {type(error).__name__}: {error}"
