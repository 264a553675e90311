"""Scheduler plug-ins: found by their entry points, and kept from holding up the leader.

A package offers one under `orchestrator.scheduler.filters` or `orchestrator.scheduler.scores`;
what the entry point names is called without arguments and gives a `FilterPlugin` or a
`ScorePlugin`. None is used unless the settings name it.

While a plug-in thinks, nothing renews the leader's lease. So each has a share of the time: when it
is used up, a timer breaks the plug-in off in the middle, and it is left alone for a while.
"""

from __future__ import annotations

import ctypes
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import EntryPoints, entry_points
from types import FrameType
from typing import TypeVar

from orchestrator.model.errors import ConfigError
from orchestrator.model.near_names import near_name
from orchestrator.scheduler.facts import Column, Mask
from orchestrator.scheduler.plugins import FilterPlugin, PluginError, ScorePlugin
from orchestrator.scheduler.protocol import Shape
from orchestrator.scheduler.snapshot import Snapshot

FILTERS = "orchestrator.scheduler.filters"
SCORES = "orchestrator.scheduler.scores"

WINDOW_SECONDS = 2.0
SHARE_SECONDS = 0.5
"""Of each window: less than what is left of the shortest lease at its next renewal."""
REST_SECONDS = 60.0
PATIENT_SECONDS = 10.0
"""For each time that somebody who only asks what would be is willing to wait."""
REPEAT_SECONDS = 0.05
"""Until the next alarm, should the plug-in catch the first."""

Plugin = TypeVar("Plugin")


class PluginStalled(PluginError):
    """It has used up its time."""


class Interrupted(PluginStalled):
    """Raised where a plug-in is, by another thread, which cannot say why."""


class Patience:
    """With one plug-in; a clock of monotonic seconds comes from outside.

    In another thread, as what-if uses, nothing waits for it but who asked: so what it does there
    costs nothing of the leader's share, and its leave there is none here.
    """

    def __init__(self, name: str, clock: Callable[[], float]) -> None:
        self._name = name
        self._clock = clock
        self._window_since = clock()
        self._spent = 0.0
        self._rests_until = dict.fromkeys((True, False), clock())

    @contextmanager
    def limited(self) -> Iterator[None]:
        """Raises `PluginStalled` when time is up, and at once while the plug-in is left alone."""
        is_main = threading.current_thread() is threading.main_thread()
        if self._clock() < self._rests_until[is_main]:
            raise PluginStalled(self._sentence(is_main))
        try:
            with self._share() if is_main else interruption(PATIENT_SECONDS, self._sentence(False)):
                yield
        except PluginStalled:
            self._rests_until[is_main] = self._clock() + REST_SECONDS
            raise

    @contextmanager
    def _share(self) -> Iterator[None]:
        began = self._clock()
        if began - self._window_since >= WINDOW_SECONDS:
            self._window_since, self._spent = began, 0.0
        try:
            with alarm(SHARE_SECONDS - self._spent, self._sentence(True)):
                yield
        finally:
            self._spent = min(self._spent + self._clock() - began, SHARE_SECONDS - 0.001)

    def _sentence(self, is_main: bool) -> str:
        share = (
            f"{SHARE_SECONDS:g} s in {WINDOW_SECONDS:g}" if is_main else f"{PATIENT_SECONDS:g} s"
        )
        return (
            f"the plug-in {self._name} takes more than {share}: it is not asked again for"
            f" {REST_SECONDS:g} s"
        )


@contextmanager
def alarm(seconds: float, sentence: str) -> Iterator[None]:
    """Raises `PluginStalled` in the middle of what is done meanwhile, in the main thread: signals
    come to that one only."""

    def ring(_signal: int, _frame: FrameType | None) -> None:
        raise PluginStalled(sentence)

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, REPEAT_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def interruption(seconds: float, sentence: str) -> Iterator[None]:
    """The same in any other thread: CPython can be told to raise an exception there."""
    thread, over = ctypes.c_ulong(threading.get_ident()), threading.Event()
    raise_there = ctypes.pythonapi.PyThreadState_SetAsyncExc

    def ring() -> None:
        pause = seconds
        while not over.wait(pause):
            raise_there(thread, ctypes.py_object(Interrupted))
            pause = REPEAT_SECONDS

    bell = threading.Thread(target=ring, daemon=True)
    bell.start()
    try:
        yield
    except Interrupted:
        raise PluginStalled(sentence) from None
    finally:
        _silence(bell, over)


def _silence(bell: threading.Thread, over: threading.Event) -> None:
    """An exception that is under way arrives in here. It is not to be taken back: before Python
    3.12 a thread that is traced would look for it for ever."""
    while bell.is_alive():
        with suppress(Interrupted):
            over.set()
            bell.join()
            for _ in range(2):
                pass


@dataclass(frozen=True, slots=True)
class TimedFilter:
    name: str
    plugin: FilterPlugin
    patience: Patience

    def passes(self, snapshot: Snapshot, shape: Shape) -> Mask:
        with self.patience.limited():
            return self.plugin.passes(snapshot, shape)


@dataclass(frozen=True, slots=True)
class TimedScore:
    name: str
    plugin: ScorePlugin
    patience: Patience

    def points(self, snapshot: Snapshot, shape: Shape) -> Column:
        with self.patience.limited():
            return self.plugin.points(snapshot, shape)


def load_filters(names: Sequence[str], clock: Callable[[], float]) -> tuple[FilterPlugin, ...]:
    """Raises `ConfigError` for a name that no package offers, and for one that does not load."""
    found = entry_points(group=FILTERS)
    return tuple(TimedFilter(name, _load(name, found), Patience(name, clock)) for name in names)


def load_scores(names: Sequence[str], clock: Callable[[], float]) -> tuple[ScorePlugin, ...]:
    """The same for scores."""
    found = entry_points(group=SCORES)
    return tuple(TimedScore(name, _load(name, found), Patience(name, clock)) for name in names)


def _load(name: str, found: EntryPoints) -> Plugin:  # type: ignore[type-var]
    if name not in found.names:
        near = near_name(name, found.names)
        known = ", ".join(sorted(found.names)) or "none"
        advice = f"did you mean {near!r}?" if near else f"installed are: {known}"
        raise ConfigError(f"no installed package offers the scheduler plug-in {name!r}: {advice}")
    try:
        plugin: Plugin = found[name].load()()
    except Exception as error:  # foreign code
        raise ConfigError(
            f"the scheduler plug-in {name!r} cannot be loaded: {type(error).__name__}: {error}"
        ) from error
    return plugin
