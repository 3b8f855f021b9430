"""Spans: what a warning's way leaves with a collector, whose they are, and that nothing personal is in them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from otel_collector import collector
from town import Town, town
from townsfolk import PEOPLE, mail_of, phone_of

from domain.errors import InvalidInput
from domain.warnings import WarningReleased
from infra import traces
from infra.config import Settings

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CALLER = {"traceparent": f"00-{TRACE}-{PARENT}-01", "X-Correlation-Id": "release-17"}


async def released(the_town: Town) -> str:
    warning_id = await the_town.draft()
    answer = await the_town.post("officer2", f"/v1/warnings/{warning_id}/release", headers=CALLER)
    assert answer.status_code == 200, answer.text
    await the_town.quiet()
    the_town.read_all()
    return warning_id


async def test_a_release_is_one_trace_from_its_caller_to_the_append_and_sends_follow(the_town: Town) -> None:
    spans = InMemorySpanExporter()
    async with traces.collecting(spans):
        await released(the_town)
    found = spans.get_finished_spans()

    (request,) = [s for s in found if s.name == "POST /v1/warnings/{warning_id}/release"]
    assert f"{request.context.trace_id:032x}" == TRACE
    assert request.parent is not None
    assert f"{request.parent.span_id:016x}" == PARENT
    assert dict(request.attributes or {}) == {
        "http.request.method": "POST",
        "http.route": "/v1/warnings/{warning_id}/release",
        "http.response.status_code": 200,
        "fenghuo.correlation_id": "release-17",
    }

    (append,) = [s for s in found if s.name == "log.append" and s.context.trace_id == request.context.trace_id]
    assert append.parent is not None
    assert append.parent.span_id == request.context.span_id
    assert (append.attributes or {})["fenghuo.correlation_id"] == "release-17"

    (plan,) = [s for s in found if s.name == "plan"]
    assert dict(plan.attributes or {}) == {"fenghuo.trigger": "released", "fenghuo.correlation_id": "release-17"}

    sends = [s.attributes or {} for s in found if s.name == "shard.send"]
    assert {a["fenghuo.channel"] for a in sends} == {"sms", "email", "webpush"}
    assert sum(int(str(a["fenghuo.messages"])) for a in sends) == 10

    (event,) = [r for r in the_town.stores.log.read_now(0, 10_000) if isinstance(r.event, WarningReleased)]
    assert event.metadata.correlation_id == "release-17"


async def test_what_failed_is_said_by_its_code(the_town: Town) -> None:
    spans = InMemorySpanExporter()
    async with traces.collecting(spans):
        assert (await the_town.get("officer1", "/v1/warnings/none")).status_code == 404
        with pytest.raises(InvalidInput), traces.span("something", shard_id="s"):
            raise InvalidInput("some.code", "with +393470000001 in its words")
    by_name = {s.name: s for s in spans.get_finished_spans()}
    refused = by_name["GET /v1/warnings/{warning_id}"]
    assert (refused.attributes or {})["http.response.status_code"] == 404
    assert refused.status.status_code is StatusCode.UNSET
    failed = by_name["something"]
    assert failed.status.status_code is StatusCode.ERROR
    assert dict(failed.attributes or {}) == {"fenghuo.shard_id": "s", "error.type": "some.code"}
    assert failed.events == ()
    assert failed.status.description is None


async def test_a_caller_who_does_not_sample_is_not_sampled(the_town: Town) -> None:
    spans = InMemorySpanExporter()
    async with traces.collecting(spans):
        await the_town.http.get("/healthz", headers={"traceparent": f"00-{TRACE}-{PARENT}-00"})
        await the_town.http.get("/readyz", headers={"traceparent": "no such thing"})
    assert [s.name for s in spans.get_finished_spans()] == ["GET /readyz"]


async def test_a_collector_gets_them_as_protobuf_and_nothing_of_anybody(tmp_path: Path) -> None:
    async with collector() as at:
        async with town(tmp_path / "data", otel_endpoint=at.url) as made:
            warning_id = await released(made)
            login = await made.login_link("officer1")
            assert (await made.http.get(login)).status_code < 400
        # leaving the town handed over what was left
        assert {"log.append", "plan", "shard.send", "POST /v1/warnings/{warning_id}/release"} <= {
            s.name for s in at.spans
        }
        assert {s.trace for s in at.spans if s.attributes.get("fenghuo.correlation_id") == "release-17"} >= {TRACE}
        assert at.resource["service.name"] == "fenghuo"
        personal = [login.rpartition("/")[2], warning_id, "洪水", "Name of"]
        personal += [word for p in PEOPLE for word in (p, phone_of(p), mail_of(p))]
        assert [word for word in personal if any(word.encode() in body for body in at.bodies)] == []


async def test_without_the_extra_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(InvalidInput) as said:
        async with traces.exporting(Settings(otel_endpoint="http://127.0.0.1:4318")):
            raise AssertionError("not reached")
    assert said.value.code == "otel.extra"
    assert "fenghuo[otel]" in str(said.value)


async def test_nothing_is_traced_unless_asked_for() -> None:
    async with traces.exporting(Settings()):
        assert traces.tracer() is None
        with traces.span("nothing") as opened:
            assert opened is None
