"""What a running program says over HTTP of an event that only a newer one knows."""

from __future__ import annotations

from problems import problem
from setting import Errors
from town import Town

from domain.ids import node_stream, warning_stream
from tests.engine.house import ANNOTATED, annotate


async def test_what_is_before_it_is_given_and_the_rest_is_another_programs(the_town: Town, errors: Errors) -> None:
    errors.expect("views_parked")
    warning_id = await the_town.draft()
    for who in ("auditor1", "officer2"):
        the_town.tokens[who] = await the_town.token(who)
    end = the_town.stores.log.last_position_now()
    await the_town.stores.follower.reached(end)
    position = annotate(the_town.stores.log, warning_stream(warning_id))
    annotate(the_town.stores.log, node_stream("milan"))
    await the_town.until(lambda: the_town.stores.follower.parked)

    ready = await the_town.http.get("/readyz")
    said = {"position": position, "topic": ANNOTATED, "code": "log.unknown_event"}
    assert (ready.status_code, ready.json()) == (200, {"ready": True, "lag": 2, "parked": said})
    assert (await the_town.http.get("/healthz")).status_code == 200
    metrics = (await the_town.http.get("/metrics")).text
    assert "fenghuo_views_parked 1.0" in metrics
    assert "fenghuo_unknown_topics 1.0" in metrics

    page = (await the_town.get("auditor1", "/v1/log?limit=1000")).json()
    assert (page["items"][-1]["position"], page["next"], page["last"]) == (end, end, end + 2)
    problem(await the_town.get("auditor1", f"/v1/log?after={end}"), 503, "log.unknown_event")
    token = the_town.tokens["auditor1"]
    headers = {"Authorization": f"Bearer {token}"}
    streamed = await the_town.http.get(f"/v1/log/stream?since={end - 1}", headers=headers)
    assert streamed.text.count("\nid: ") == 1
    assert streamed.text.endswith(": the next event is of a newer program; come back\n\n")

    assert (await the_town.get("officer1", f"/v1/warnings/{warning_id}")).json()["status"] == "draft"
    answer = await the_town.post("officer2", f"/v1/warnings/{warning_id}/release", {})
    problem(answer, 503, "log.unknown_event")

    with the_town.stores.views._changing() as db:  # as a newer program leaves them
        db.exec_driver_sql(f"UPDATE view_positions SET position = {position + 1}")
    await the_town.until(lambda: the_town.stores.views.position == position + 1)
