"""The program's own log lines: one a line, as JSON or for a terminal; never with the values of variables.

A traceback with local variables would show names and addresses, so none is ever written with them.
"""

from __future__ import annotations

import logging
import sys

import structlog


def configure(*, level: str = "INFO", as_json: bool = True) -> None:
    """Sets up structlog and the standard library's logging, both to standard error."""
    number = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
    renderers: list[structlog.typing.Processor]
    if as_json:
        renderers = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(ensure_ascii=False)]
    else:
        renderers = [
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
        ]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *renderers,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(
        stream=sys.stderr, level=max(number, logging.WARNING), format="%(levelname)s %(name)s %(message)s", force=True
    )
