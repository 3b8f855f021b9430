"""Spans of HTTP requests: named by their route, below the caller's where it sent a `traceparent`."""

from __future__ import annotations

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.app import template
from infra import traces


class Requests:
    """A span around each HTTP request, below the caller's where it sent a `traceparent` (W3C Trace Context)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (tracer := traces.tracer()) is None or scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        from opentelemetry.trace import SpanKind, StatusCode  # noqa: PLC0415  an extra
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

        sent = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        with tracer.start_as_current_span(
            scope["method"],
            context=TraceContextTextMapPropagator().extract(sent),
            kind=SpanKind.SERVER,
            attributes={"http.request.method": scope["method"]},
            record_exception=False,
            set_status_on_exception=False,
        ) as opened:
            structlog.contextvars.bind_contextvars(trace_id=f"{opened.get_span_context().trace_id:032x}")

            async def answered(message: Message) -> None:
                if message["type"] == "http.response.start":
                    route = template(scope)
                    opened.update_name(f"{scope['method']} {route}")
                    opened.set_attribute("http.route", route)
                    opened.set_attribute("http.response.status_code", message["status"])
                    for name, value in message["headers"]:
                        if name == b"x-correlation-id":
                            opened.set_attribute("fenghuo.correlation_id", value.decode("latin-1"))
                    if message["status"] >= 500:
                        opened.set_status(StatusCode.ERROR)
                await send(message)

            try:
                await self._app(scope, receive, answered)
            except BaseException as error:
                traces.failed(opened, error)
                raise
