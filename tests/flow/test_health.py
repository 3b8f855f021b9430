"""Alive, ready and counted: what supervisors and Prometheus are told, and that it names nobody."""

from __future__ import annotations

import asyncio

from prometheus_client.parser import text_string_to_metric_families
from setting import Errors
from town import Town
from townsfolk import PEOPLE, TREE, mail_of, phone_of


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


SENDS = "fenghuo_send_duration_seconds_count"
LABELS = {
    *("method", "route", "status", "kind", "result"),
    *("channel", "provider", "outcome", "reason"),
    *("lane", "level", "state", "part", "le", "version"),
}


def asked(found: dict[tuple[str, tuple[tuple[str, str], ...]], float], method: str, route: str, status: int) -> float:
    labels = (("method", method), ("route", route), ("status", str(status)))
    return found.get(("fenghuo_http_requests_total", labels), 0)


async def test_a_running_program_is_alive_and_ready(the_town: Town) -> None:
    alive, ready = await the_town.http.get("/healthz"), await the_town.http.get("/readyz")
    assert (alive.status_code, alive.json()) == (200, {"alive": True})
    assert (ready.status_code, ready.json()) == (200, {"ready": True, "lag": 0})


async def test_a_part_that_ended_is_said(the_town: Town, errors: Errors) -> None:
    task = next(t for t in asyncio.all_tasks() if t.get_name() == "timekeeper")
    task.cancel()
    await asyncio.wait([task])
    alive, ready = await the_town.http.get("/healthz"), await the_town.http.get("/readyz")
    assert (alive.status_code, alive.json()) == (503, {"alive": False})
    assert (ready.status_code, ready.json()["ready"]) == (503, False)


async def test_metrics_count_and_name_nobody(the_town: Town) -> None:
    warning_id = await the_town.release()
    await the_town.quiet()
    the_town.read_all()
    assert (await the_town.get("officer1", "/v1/warnings/none")).status_code == 404
    answer = await the_town.http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    found = samples(answer.text)

    assert found["fenghuo_log_position", ()] == the_town.stores.log.last_position_now()
    assert found["fenghuo_views_lag_events", ()] == 0
    assert asked(found, "GET", "/v1/warnings/{warning_id}", 404) == 1
    assert asked(found, "POST", "/v1/warnings", 201) == 1
    assert asked(found, "GET", "none", 404) == 0
    personal = [*PEOPLE, *(phone_of(p) for p in PEOPLE), *(mail_of(p) for p in PEOPLE)]
    assert [word for word in [*personal, warning_id, "Name of"] if word in answer.text] == []
    assert {name for (metric, labels) in found if metric.startswith("fenghuo_") for name, _ in labels} <= LABELS
    assert not {value for _, labels in found for _, value in labels} & {node.node_id for node in TREE}


async def test_messages_are_counted_by_channel_and_outcome(the_town: Town) -> None:
    await the_town.release()
    await the_town.quiet()
    the_town.read_all()
    found = samples((await the_town.http.get("/metrics")).text)
    counted = {labels: n for (name, labels), n in found.items() if name == "fenghuo_messages_total"}
    assert counted == {
        (("channel", channel), ("outcome", "accepted"), ("provider", provider), ("reason", "")): n
        for channel, provider, n in (("sms", "sms", 5), ("email", "email", 3), ("webpush", "", 2))
    }
    chunks = {dict(labels)["channel"] for name, labels in found if name == SENDS}
    assert chunks == {"sms", "email", "webpush"}
    assert found["fenghuo_callbacks_total", (("kind", "sms"), ("result", "taken"))] == 15  # three of each message
    assert found["fenghuo_log_events_total", ()] > 10
    assert found["fenghuo_log_append_duration_seconds_count", ()] > 3


async def test_what_no_provider_signed_counts_as_refused(the_town: Town) -> None:
    assert (await the_town.http.post("/callbacks/sms/inbound", data={"From": "+1"})).status_code == 403
    assert (await the_town.http.post("/callbacks/nothing", data={})).status_code == 404
    assert (await the_town.http.request("PROPFIND", "/nowhere")).status_code == 404
    found = samples((await the_town.http.get("/metrics")).text)
    assert found["fenghuo_callbacks_total", (("kind", "sms"), ("result", "refused"))] == 1
    assert asked(found, "POST", "/callbacks/sms/inbound", 403) == 1
    assert asked(found, "other", "none", 404) == 1
    assert asked(found, "POST", "none", 404) == 1


async def test_reading_them_again_at_once_asks_no_store(the_town: Town) -> None:
    first = samples((await the_town.http.get("/metrics")).text)
    await the_town.draft()
    again = samples((await the_town.http.get("/metrics")).text)
    position = ("fenghuo_log_position", ())
    assert again[position] == first[position] < the_town.stores.log.last_position_now()
