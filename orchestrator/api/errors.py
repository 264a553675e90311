"""Refusals that only the API knows, named by the caller's next move."""

from __future__ import annotations

from orchestrator.model.errors import ConfigError, OrchestrationError, StateError


class PreconditionFailed(StateError):
    """If-Match or If-None-Match does not hold: read again."""


class HistoryGone(StateError):
    """The revision to resume from is too old, or the reader too slow: list again."""


class TooLarge(ConfigError):
    """More than the API or the store takes: make it smaller."""


class NoRoom(OrchestrationError):
    """The store is nearly full: ask for less, or have somebody make room."""


class NotCurrent(OrchestrationError):
    """This replica's mirror is behind: try later, or ask another replica."""


class Outdated(OrchestrationError):
    """The store is laid out for a newer release than this replica's: ask another one."""
