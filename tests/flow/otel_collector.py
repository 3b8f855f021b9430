"""A collector for OpenTelemetry of our own: takes spans over OTLP/HTTP as protobuf, and shows them as plain values."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


class Seen(msgspec.Struct):
    """A span as it came in; ids in hexadecimal."""

    name: str
    trace: str
    id: str
    parent: str
    attributes: dict[str, Any]
    error: bool


class Collector(msgspec.Struct):
    url: str
    spans: list[Seen]
    bodies: list[bytes]
    resource: dict[str, Any]


def _plain(attributes: Any) -> dict[str, Any]:
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in attributes}


@asynccontextmanager
async def collector() -> AsyncIterator[Collector]:
    found = Collector("", [], [], {})

    async def take(request: web.Request) -> web.Response:
        assert request.headers["Content-Type"] == "application/x-protobuf"
        body = await request.read()
        if request.headers.get("Content-Encoding") == "gzip" and body[:2] == b"\x1f\x8b":
            body = gzip.decompress(body)
        found.bodies.append(body)
        for of in ExportTraceServiceRequest.FromString(body).resource_spans:
            found.resource = _plain(of.resource.attributes)
            found.spans += [
                Seen(
                    name=span.name,
                    trace=span.trace_id.hex(),
                    id=span.span_id.hex(),
                    parent=span.parent_span_id.hex(),
                    attributes=_plain(span.attributes),
                    error=span.status.code == span.status.STATUS_CODE_ERROR,
                )
                for scope in of.scope_spans
                for span in scope.spans
            ]
        answer = ExportTraceServiceResponse().SerializeToString()
        return web.Response(body=answer, content_type="application/x-protobuf")

    app = web.Application()
    app.router.add_post("/otlp/v1/traces", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}/otlp"
    try:
        yield found
    finally:
        await runner.cleanup()
