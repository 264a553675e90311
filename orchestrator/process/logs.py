"""Structured logs on stderr: one line for each decision, for people or as JSON.

Lines of libraries (aiohttp, asyncio) take the same form. A line that cannot be written, as when
the disk is full, is dropped: logging never ends a process.
"""

from __future__ import annotations

import logging
import sys

import structlog
from structlog.typing import Processor

from orchestrator.process.settings import ProcessSettings


def configure_logs(settings: ProcessSettings, **fields: object) -> None:
    """Set logging up for this process; `fields` (`role`, `replica`) are in every line.

    Loggers come from `structlog.get_logger()`; times are ISO 8601 in UTC.
    """
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(**fields)
    stamps: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *stamps,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=stamps,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_renderers(settings.log_format),
            ],
        )
    )
    logging.raiseExceptions = False
    logging.root.handlers = [handler]
    logging.root.setLevel(settings.log_level.upper())
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)


def _renderers(form: str) -> list[Processor]:
    is_for_people = form == "console" or (form == "auto" and sys.stderr.isatty())
    if is_for_people:
        # the default formatter of tracebacks shows local variables, and with them secrets
        formatter = structlog.dev.plain_traceback
        return [
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=formatter)
        ]
    return [
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(default=str, sort_keys=False),
    ]
