"""Traces for OpenTelemetry, where the setting `otel_endpoint` names a collector: a span for each request, append, plan
and chunk that is sent. Without it `span` costs nothing, and the extra `otel` need not be installed.

A span says what was done and how long it took: routes, channels, counts, ids of streams and of the correlation. It has
no path (a login link is one), no text, no address, and of an error its code alone.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, nullcontext
from importlib import metadata
from typing import TYPE_CHECKING, Any

from domain.errors import FenghuoError, InvalidInput
from infra.config import Settings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span, Tracer

EXPORT_S = 5.0  # seconds that the collector gets for one answer, and at the end for the last spans

_tracer: Tracer | None = None


def tracer() -> Tracer | None:
    """What makes spans while there is a collector."""
    return _tracer


def span(name: str, **attributes: str | int) -> AbstractContextManager[Any]:
    """A span around a block, below the one that is open here. Attributes come to stand under `fenghuo.`."""
    return nullcontext() if _tracer is None else _open(_tracer, name, attributes)


@contextlib.contextmanager
def _open(tracer: Tracer, name: str, attributes: dict[str, str | int]) -> Iterator[Span]:
    named = {f"fenghuo.{key}": value for key, value in attributes.items()}
    with tracer.start_as_current_span(
        name, attributes=named, record_exception=False, set_status_on_exception=False
    ) as opened:
        try:
            yield opened
        except BaseException as error:
            failed(opened, error)
            raise


def failed(opened: Span, error: BaseException) -> None:
    """Says of a span what went wrong in it: a code, since words may hold more."""
    from opentelemetry.trace import StatusCode  # noqa: PLC0415  an extra

    opened.set_status(StatusCode.ERROR)
    opened.set_attribute("error.type", error.code if isinstance(error, FenghuoError) else type(error).__name__)


@contextlib.asynccontextmanager
async def exporting(settings: Settings) -> AsyncIterator[None]:
    """Sends spans to the collector of the settings, where they name one, for the time of a block.

    Raises InvalidInput where the extra is missing.
    """
    if not settings.otel_endpoint:
        yield
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    except ImportError:
        raise InvalidInput(
            "otel.extra",
            "The setting otel_endpoint is set and OpenTelemetry is not installed.",
            "Install the extra: pip install 'fenghuo[otel]'.",
        ) from None
    endpoint = f"{settings.otel_endpoint.rstrip('/')}/v1/traces"
    async with collecting(OTLPSpanExporter(endpoint=endpoint, timeout=EXPORT_S), settings.otel_sample):
        yield


@contextlib.asynccontextmanager
async def collecting(exporter: SpanExporter, sample: float = 1.0) -> AsyncIterator[None]:
    """Hands spans to an exporter for the time of a block; those of one trace in `sample`, unless its caller decided."""
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio  # noqa: PLC0415

    global _tracer  # noqa: PLW0603  one program has one collector, as it has one log
    version = metadata.version("fenghuo")
    resource = Resource.create({"service.name": "fenghuo", "service.version": version})
    provider = TracerProvider(sampler=ParentBasedTraceIdRatio(sample), resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter, export_timeout_millis=EXPORT_S * 1000))
    before, _tracer = _tracer, provider.get_tracer("fenghuo", version)
    try:
        yield
    finally:
        _tracer = before
        await asyncio.to_thread(provider.shutdown)
