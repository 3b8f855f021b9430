"""SMS through Aliyun's SDK against an endpoint of ours: templates and parameters, its codes, and its reports."""

from __future__ import annotations

import asyncio
import builtins
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from conftest import deliveries, rendered
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import InvalidInput
from domain.outcomes import Outcome, Reason
from domain.rulepacks import Level
from domain.shards import Purpose
from infra.sandbox.server import SandboxServer
from notifiers.aliyun import CODES, AliyunNotifier, AliyunSettings, code_meaning, report_rows
from notifiers.channel import Result

KEY, SECRET = "key-that-nobody-may-see", "secret-that-nobody-may-see"
TEMPLATES = {"notice.zh": "SMS_1", "notice.en": "SMS_2", "cancel.zh": "SMS_3"}


class Endpoint:
    """What the SDK talks to. `code` is its answer, with HTTP `status`; "hang", "reset" and "garbage" are none."""

    def __init__(self) -> None:
        self.server = SandboxServer("127.0.0.1", 0)
        self.server.app.router.add_route("*", "/{rest:.*}", self.take)
        self.got: list[dict[str, str]] = []
        self.code, self.status = "OK", 200

    async def take(self, request: web.Request) -> web.Response:
        self.got.append({**request.query, **{k: str(v) for k, v in (await request.post()).items()}})
        match self.code:
            case "hang":
                return await self.server.hang(request)
            case "reset":
                return self.server.reset(request)
            case "garbage":
                return web.Response(text="<html>")
        body = {"Code": self.code, "Message": "said", "RequestId": "r"}
        if self.code == "OK":
            body["BizId"] = f"biz{len(self.got)}"
        return web.json_response(body, status=self.status)

    def notifier(self, **changes: Any) -> AliyunNotifier:
        fields: dict[str, Any] = {
            "access_key_id": KEY, "access_key_secret": SECRET, "sign_name": "烽火", "templates": TEMPLATES,
            "endpoint": f"127.0.0.1:{self.server.port}", "protocol": "HTTP", "timeout_s": 5.0, "concurrency": 8,
        }  # fmt: skip
        return AliyunNotifier(AliyunSettings(**{**fields, **changes}))


@pytest.fixture
async def aliyun() -> AsyncIterator[Endpoint]:
    made = Endpoint()
    await made.server.start()
    yield made
    await made.server.stop()


async def send(notifier: AliyunNotifier, phones: list[Any], **changes: Any) -> list[Result]:
    fields = {"number": "123456", "level": Level.RED, **changes}
    results = await notifier.send(rendered(**fields), deliveries(phones))
    await notifier.close()
    assert sorted(result.index for result in results) == list(range(len(phones)))
    return sorted(results, key=lambda result: result.index)


async def test_number_and_level_go_out_and_no_words_and_no_link(aliyun: Endpoint) -> None:
    (result,) = await send(aliyun.notifier(), ["+8613800000000"])
    assert (result.outcome, result.provider_ref) == (Outcome.ACCEPTED, "biz1")
    (said,) = aliyun.got
    assert (said["PhoneNumbers"], said["SignName"], said["TemplateCode"]) == ("13800000000", "烽火", "SMS_1")
    assert json.loads(said["TemplateParam"]) == {"number": "123456", "level": "红色预警"}
    assert said["OutId"] == f"{0:032x}"
    assert "fenghuo.example" not in json.dumps(said)


@pytest.mark.parametrize(
    ("changes", "template", "level"),
    [
        ({"language": "en-GB"}, "SMS_2", "Red"),
        ({"language": "it"}, "SMS_1", "红色预警"),
        ({"language": "en", "purpose": Purpose.CANCEL}, "SMS_3", "红色预警"),
        ({"drill": True, "level": Level.BLUE}, "SMS_1", "演练蓝色预警"),
        ({"language": "en", "drill": True}, "SMS_2", "DRILL Red"),
    ],
)
async def test_the_template_of_purpose_and_language(
    aliyun: Endpoint, changes: dict[str, Any], template: str, level: str
) -> None:
    await send(aliyun.notifier(), ["+85261234567"], **changes)
    assert (aliyun.got[0]["TemplateCode"], json.loads(aliyun.got[0]["TemplateParam"])["level"]) == (template, level)
    assert aliyun.got[0]["PhoneNumbers"] == "85261234567"


async def test_without_an_approved_template_all_wait(aliyun: Endpoint) -> None:
    results = await send(aliyun.notifier(), ["+8613800000000"] * 3, purpose=Purpose.ESCALATION)
    assert {(r.outcome, r.reason) for r in results} == {(Outcome.DEFERRED, Reason.CREDENTIALS)}
    assert aliyun.got == []


@pytest.mark.parametrize("code", sorted(CODES))
@pytest.mark.parametrize("status", [200, 400])
async def test_each_code_means_what_the_table_says(aliyun: Endpoint, code: str, status: int) -> None:
    aliyun.code, aliyun.status = code, status
    (result,) = await send(aliyun.notifier(), ["+8613800000000"])
    assert (result.outcome, result.reason) == CODES[code]
    assert len(aliyun.got) == 1, "the SDK tried again by itself: a second message"


@pytest.mark.parametrize("code", ["", "isp.SOMETHING_NEW", "Unheard"])
async def test_a_code_that_is_not_in_the_table_is_in_doubt(aliyun: Endpoint, code: str) -> None:
    aliyun.code, aliyun.status = code, 500
    (result,) = await send(aliyun.notifier(), ["+8613800000000"])
    assert (result.outcome, result.reason) == (Outcome.UNKNOWN, Reason.PROVIDER_ERROR)
    assert code_meaning("isv.SOMETHING_NEW") == (Outcome.REFUSED, Reason.BLOCKED)


async def test_no_json_is_in_doubt(aliyun: Endpoint) -> None:
    aliyun.code = "garbage"
    (result,) = await send(aliyun.notifier(), ["+8613800000000"])
    assert (result.outcome, result.reason) == (Outcome.UNKNOWN, Reason.PROVIDER_ERROR)


async def test_no_answer_in_time_is_in_doubt(aliyun: Endpoint) -> None:
    aliyun.code = "hang"
    (result,) = await send(aliyun.notifier(timeout_s=1.0), ["+8613800000000"])
    assert (result.outcome, result.reason) == (Outcome.UNKNOWN, Reason.TIMEOUT)
    assert len(aliyun.got) == 1


async def test_a_connection_that_breaks_is_in_doubt(aliyun: Endpoint) -> None:
    aliyun.code = "reset"
    (result,) = await send(aliyun.notifier(), ["+8613800000000"])
    assert (result.outcome, result.reason) == (Outcome.UNKNOWN, Reason.CONNECTION_LOST)


async def test_nobody_listening_means_nothing_was_sent(aliyun: Endpoint) -> None:
    await aliyun.server.stop()
    (result,) = await send(aliyun.notifier(), ["+8613800000000"])
    assert (result.outcome, result.reason) == (Outcome.DEFERRED, Reason.UNREACHABLE)


async def test_poisoned_recipients_do_not_stop_the_others(aliyun: Endpoint) -> None:
    bad: list[Any] = [None, 5, "", "13800000000", "+8613800000000,+8613800000001", "+86\r\nX", {}, "9" * 100_000]
    results = await send(aliyun.notifier(), [*bad, "+8613800000000"])
    assert {result.reason for result in results[:-1]} == {Reason.BAD_ADDRESS}
    assert results[-1].outcome is Outcome.ACCEPTED
    assert len(aliyun.got) == 1


async def test_cancellation_goes_through(aliyun: Endpoint) -> None:
    aliyun.code = "hang"
    notifier = aliyun.notifier(timeout_s=60.0)
    sending = asyncio.create_task(notifier.send(rendered(number="1"), deliveries(["+8613800000000"])))
    async with asyncio.timeout(30):
        while not aliyun.got:  # noqa: ASYNC110  on the far side of a socket
            await asyncio.sleep(0.005)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending


async def test_no_log_line_holds_an_address_or_a_secret(aliyun: Endpoint, caplog: pytest.LogCaptureFixture) -> None:
    notifier = aliyun.notifier()
    caplog.set_level(logging.DEBUG)
    for name in list(logging.root.manager.loggerDict):
        caplog.set_level(logging.DEBUG, logger=name)
    for aliyun.code in ("OK", "isv.BLACKLIST", "reset", "garbage"):
        await send(notifier, ["+8613812345678"])
    logged = "\n".join(f"{record.getMessage()} {record.exc_text} {record.args}" for record in caplog.records)
    for private in (KEY, SECRET, "13812345678"):
        assert private not in logged
        assert private not in repr(notifier._settings)


def test_settings_without_a_template_and_a_machine_without_the_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    fields: dict[str, Any] = {"access_key_id": KEY, "access_key_secret": SECRET, "sign_name": "x"}
    with pytest.raises(InvalidInput) as raised:
        AliyunNotifier(AliyunSettings(**fields, templates={}))
    assert raised.value.code == "aliyun.templates"
    importing = builtins.__import__

    def without(name: str, *more: Any) -> Any:
        if name.startswith("alibabacloud"):
            raise ImportError(name)
        return importing(name, *more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InvalidInput) as raised:
        AliyunNotifier(AliyunSettings(**fields, templates=TEMPLATES))
    assert (raised.value.code, "fenghuo[aliyun]" in raised.value.remedy) == ("aliyun.extra", True)


SHARD = "ab" * 16


def test_reports_become_rows() -> None:
    reports = [
        {"out_id": f"{SHARD}.0", "success": True, "err_code": "DELIVERED", "biz_id": "b1", "phone_number": "138"},
        {"out_id": f"{SHARD}.1", "success": False, "err_code": "MOBILE_NOT_ON_SERVICE", "biz_id": "b2"},
        {"out_id": f"{SHARD}.2", "success": False, "err_code": "SOMETHING"},
        {"out_id": "somebody-else's", "success": True},
        {"success": True},
    ]
    rows = report_rows(json.dumps(reports).encode())
    assert [(shard, row.index, row.outcome, row.reason, row.provider_ref) for shard, row in rows] == [
        (SHARD, 0, Outcome.DELIVERED, Reason.NONE, "b1"),
        (SHARD, 1, Outcome.REFUSED, Reason.BAD_ADDRESS, "b2"),
        (SHARD, 2, Outcome.REFUSED, Reason.UNDELIVERED, ""),
    ]


@given(st.binary(max_size=200) | st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists).map(
    lambda value: json.dumps(value).encode()
))  # fmt: skip
def test_what_is_no_report_is_a_value_error(body: bytes) -> None:
    try:
        rows = report_rows(body)
    except ValueError:
        return
    assert rows == []
