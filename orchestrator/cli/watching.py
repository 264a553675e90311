"""`--watch`: what there is, then a line for everything that changes."""

from __future__ import annotations

import json
import time
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import click

from orchestrator.cli.answers import WatchEvent
from orchestrator.cli.client import FORMS, ApiClient
from orchestrator.cli.columns import Setting, columns_of
from orchestrator.cli.commands.get import Question, setting_for
from orchestrator.cli.following import follow_watch
from orchestrator.cli.kinds import Kind
from orchestrator.cli.options import workload_key
from orchestrator.cli.output import Format, RunningTable, name_of, plain
from orchestrator.cli.tables import lines_of
from orchestrator.model.answers import Identity, WatchType


async def watch_on(client: ApiClient, question: Question, form: Format) -> None:
    """Shows until it is interrupted."""
    setting = await setting_for(client, question)
    kind = question.kind
    display = _Table(kind, form, setting) if form.is_table else _Lines(kind, form)
    namespace, name = _target(question)
    events = follow_watch(client, FORMS[kind], namespace=namespace, name=name)
    async with aclosing(events):
        async for event in events:
            if is_asked_for(question, event.object):
                display.take(event)


def _target(question: Question) -> tuple[str | None, str | None]:
    name = question.names[0] if question.names else None
    if question.kind is Kind.WORKLOADS and name:
        key = workload_key(name, question.namespace)
        return key.namespace, key.name
    return (None if question.kind is Kind.NODES else question.namespace), name


def is_asked_for(question: Question, item: Any) -> bool:
    """The choice that a watch leaves to its reader. What has no object is let through."""
    if item is None or question.kind is not Kind.INSTANCES:
        return True
    is_of_workload = question.workload is None or item.workload == question.workload
    return is_of_workload and question.node in {None, item.node}


class _Lines:
    """Each state that an object takes, in one line of JSON, a YAML document, or by name."""

    def __init__(self, kind: Kind, form: Format) -> None:
        self._kind = kind
        self._form = form

    def take(self, event: WatchEvent[Any]) -> None:
        if event.object is None:
            return
        if self._form is Format.NAME:
            click.echo(name_of(self._kind, event.object))
        elif self._form is Format.JSON:
            click.echo(json.dumps(plain(event.object), ensure_ascii=False))
        else:
            import yaml

            click.echo("---\n" + yaml.safe_dump(plain(event.object), sort_keys=False), nl=False)


class _Table:
    """What there is as one table, and then a row for each change that can be seen in it."""

    def __init__(self, kind: Kind, form: Format, setting: Setting) -> None:
        self._kind = kind
        self._is_wide = form is Format.WIDE
        self._setting = setting
        self._table = RunningTable(kind, self._is_wide)
        self._shown: dict[Identity, list[str]] = {}
        self._listed: list[Any] = []
        self._is_listing = True

    def take(self, event: WatchEvent[Any]) -> None:
        if event.type is WatchType.SYNC:
            self._end_listing()
        elif event.type is WatchType.DELETED:
            if self._shown.pop(event.identity, None):
                self._table.show_deleted(event.identity, self._setting)
        elif self._looks_different(event):
            self._listed.append(event.object)
            if not self._is_listing:
                self._show_listed()

    def _looks_different(self, event: WatchEvent[Any]) -> bool:
        """Whether any cell does. Its age counts for nothing; two events are never the same."""
        timeless = replace(self._setting, now=0.0)
        columns = columns_of(self._kind, timeless)
        _, cells = lines_of(columns, [event.object], wide=self._is_wide)
        known = self._shown.get(event.identity)
        self._shown[event.identity] = cells
        return known != cells or not event.identity.name

    def _end_listing(self) -> None:
        if self._is_listing:
            self._show_listed()
        self._is_listing = False

    def _show_listed(self) -> None:
        self._table.show(self._listed, replace(self._setting, now=time.time()))
        self._listed.clear()
