"""Is it alive, is it ready, what does it count: for supervisors, load balancers and Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, generate_latest
from starlette.responses import JSONResponse, PlainTextResponse

from api.auth import S
from domain.errors import FenghuoError
from notifiers.failover import Provider, Providers
from notifiers.limits import MICRO

router = APIRouter(tags=["health"])
LAG_READY = 5_000  # events: above this the views are too old to work with


@router.get("/healthz")
async def alive(s: S) -> JSONResponse:
    """200 while every part of the program runs."""
    return JSONResponse({"alive": s.alive()}, 200 if s.alive() else 503)


@router.get("/readyz")
async def ready(s: S) -> JSONResponse:
    """200 once the log answers and the views have caught up with it."""
    try:
        lag = await s.log.last_position() - s.views.position
    except FenghuoError as error:
        return JSONResponse({"ready": False, "code": error.code}, 503)
    fine = s.alive() and lag <= LAG_READY
    return JSONResponse({"ready": fine, "lag": lag}, 200 if fine else 503)


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(s: S) -> Response:
    """Counters and gauges in Prometheus' text form; no labels that name a person or a warning."""
    return Response(generate_latest(s.metrics), media_type=CONTENT_TYPE_LATEST)


STATES = ("closed", "half_open", "open")


class Meters:
    """What is counted. One set for each program; `registry` is its own, so tests do not share."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "fenghuo_http_requests_total", "HTTP requests", ["method", "status"], registry=self.registry
        )
        self.sent = Counter(
            "fenghuo_messages_total", "Messages by channel and outcome", ["channel", "outcome"], registry=self.registry
        )
        self.drilled = Counter(
            "fenghuo_drill_messages_total",
            "Messages of drills by channel and outcome, which count nowhere else",
            ["channel", "outcome"],
            registry=self.registry,
        )
        self.provider_state = Gauge(
            "fenghuo_provider_state", "0 closed, 1 half open, 2 open", ["provider", "channel"], registry=self.registry
        )
        self.provider_rate = Gauge(
            "fenghuo_provider_rate", "Tokens a second; -1: any", ["provider", "channel"], registry=self.registry
        )
        self.provider_spent = Gauge(
            "fenghuo_provider_spent_today",
            "What was spent today (UTC)",
            ["provider", "channel"],
            registry=self.registry,
        )
        self.position = Gauge("fenghuo_log_position", "Last position of the log", registry=self.registry)
        self.lag = Gauge("fenghuo_views_lag_events", "Events that the views are behind the log", registry=self.registry)

    def watch(self, providers: Providers) -> None:
        """Shows these providers as they are when somebody looks."""
        for provider in providers.all:
            labels = (provider.name, provider.channel.value)
            self.provider_state.labels(*labels).set_function(_state(provider))
            self.provider_rate.labels(*labels).set_function(_rate(provider))
            self.provider_spent.labels(*labels).set_function(_spent(provider))


def _state(provider: Provider) -> Callable[[], float]:
    return lambda: float(STATES.index(provider.breaker.state.value))


def _rate(provider: Provider) -> Callable[[], float]:
    return lambda: -1.0 if provider.pace.per_s is None else provider.pace.per_s


def _spent(provider: Provider) -> Callable[[], float]:
    return lambda: provider.budget.spent() / MICRO if provider.budget else 0.0
