"""Text messages through Aliyun's short message service, for numbers in mainland China: the extra `aliyun`.

The carriers there take approved templates and no free text, and no links: a message names a warning by its number and
its level, and says what to do by the template's own words. Sources: the service's SendSms action, its list of error
codes, and its SmsReport push.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp
import msgspec

from domain.errors import InvalidInput
from domain.outcomes import Outcome, Reason, Row
from domain.people import Channel
from domain.rulepacks import Level
from notifiers.batch import accepted, deferred, in_doubt, refused, spread
from notifiers.channel import Delivery, Rendered, Result
from notifiers.net import failure
from notifiers.sms import E164

CODES: dict[str, tuple[Outcome, Reason]] = {
    **dict.fromkeys(
        ("isv.MOBILE_NUMBER_ILLEGAL", "isv.MOBILE_COUNT_OVER_LIMIT"),
        (Outcome.REFUSED, Reason.BAD_ADDRESS),
    ),
    **dict.fromkeys(
        ("isv.BLACK_KEY_CONTROL_LIMIT", "isv.SMS_CONTENT_ILLEGAL", "isv.PARAM_LENGTH_LIMIT",
         "isv.PARAM_NOT_SUPPORT_URL", "isv.TEMPLATE_PARAMS_ILLEGAL", "isv.INVALID_JSON_PARAM"),
        (Outcome.REFUSED, Reason.CONTENT_REFUSED),
    ),
    **dict.fromkeys(
        ("isv.BLACKLIST", "isv.USER_BLACK_LIST", "isv.DOMESTIC_NUMBER_NOT_SUPPORTED", "isv.DENY_IP_RANGE"),
        (Outcome.REFUSED, Reason.BLOCKED),
    ),
    **dict.fromkeys(
        ("isv.BUSINESS_LIMIT_CONTROL", "isv.DAY_LIMIT_CONTROL", "isv.MONTH_LIMIT_CONTROL",
         "Throttling", "Throttling.User", "Throttling.Api", "isp.SYSTEM_BUSY"),
        (Outcome.DEFERRED, Reason.RATE_LIMITED),
    ),
    # Our account, its balance, our signature or our templates are at fault: an operator can mend that in time.
    **dict.fromkeys(
        ("isv.OUT_OF_SERVICE", "isv.PRODUCT_UN_SUBSCRIPT", "isv.PRODUCT_UNSUBSCRIBE", "isv.ACCOUNT_NOT_EXISTS",
         "isv.ACCOUNT_ABNORMAL", "isv.AMOUNT_NOT_ENOUGH", "isv.SMS_TEMPLATE_ILLEGAL", "isv.SMS_SIGNATURE_ILLEGAL",
         "isv.SMS_SIGN_ILLEGAL", "isv.TEMPLATE_MISSING_PARAMETERS", "isv.SMS_SIGNATURE_SCENE_ILLEGAL",
         "isv.INVALID_PARAMETERS", "isv.CUSTOMER_REFUSED", "isp.RAM_PERMISSION_DENY", "Forbidden.RAM",
         "InvalidAccessKeyId.NotFound", "InvalidAccessKeyId.Inactive", "SignatureDoesNotMatch",
         "InvalidTimeStamp.Expired", "MissingAccessKeyId"),
        (Outcome.DEFERRED, Reason.CREDENTIALS),
    ),
    **dict.fromkeys(
        ("isp.SYSTEM_ERROR", "isp.UNKNOWN_ERR_CODE", "ServiceUnavailable", "InternalError"),
        (Outcome.UNKNOWN, Reason.PROVIDER_ERROR),
    ),
}  # fmt: skip
"""What the service's codes mean for one recipient, where it refused at once."""

REPORTS: dict[str, Reason] = {
    **dict.fromkeys(
        ("MOBILE_NOT_ON_SERVICE", "MOBILE_EMPTY", "MK:0001", "MOBILE_ACCOUNT_ABNORMAL"), Reason.BAD_ADDRESS
    ),
    **dict.fromkeys(("MOBILE_IN_BLACK", "MK:0013", "REJECT", "SP_BLACK", "USER_REJECT"), Reason.BLOCKED),
    **dict.fromkeys(("CONTENT_KEYWORD", "CONTENT_ERROR", "SIGN_ERROR"), Reason.CONTENT_REFUSED),
    **dict.fromkeys(("MOBILE_SEND_LIMIT", "SP_SEND_LIMIT", "FLOW_LIMIT"), Reason.RATE_LIMITED),
    **dict.fromkeys(("EXPIRED",), Reason.VALIDITY_OVER),
}
"""What the codes of reports mean; those not listed are plainly UNDELIVERED."""

LEVELS: dict[str, tuple[str, str, str, str, str]] = {
    "zh": ("蓝色预警", "黄色预警", "橙色预警", "红色预警", "演练"),
    "en": ("Blue", "Yellow", "Orange", "Red", "DRILL "),
}
"""The template's `level` in each language that templates are approved in, blue to red, and the mark of a drill."""

MOST_REPORTS = 1000
_OUT_ID = re.compile(r"([0-9a-f]{32})\.([0-9]{1,5})")


class AliyunSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`templates`: the approved template's code by purpose and language, `{"notice.zh": "SMS_1"}`. Each takes the
    parameters `number` and `level`."""

    access_key_id: str
    access_key_secret: str
    sign_name: str
    templates: Mapping[str, str]
    endpoint: str = "dysmsapi.aliyuncs.com"
    protocol: str = "HTTPS"
    concurrency: int = 32  # requests in flight
    timeout_s: float = 15.0  # for one request, all told

    def __repr__(self) -> str:
        return f"AliyunSettings(endpoint={self.endpoint!r}, concurrency={self.concurrency})"


class AliyunNotifier:
    """Sends a template's code with the warning's number and level. Its reports name the message by `out_id`."""

    channel = Channel.SMS

    def __init__(self, settings: AliyunSettings, chunk: int = 100) -> None:
        """Raises InvalidInput where the extra is not installed or no template is named."""
        if not settings.templates:
            raise InvalidInput("aliyun.templates", "No approved template is named.", "Set aliyun.templates.")
        self.chunk = chunk
        self._settings = settings
        self._gate = asyncio.Semaphore(settings.concurrency)
        self._sdk = _sdk(settings)

    async def send(self, rendered: Rendered, deliveries: Sequence[Delivery]) -> list[Result]:
        """As Notifier.send. Without a template for the purpose and language, or for it in Chinese, all wait."""
        language = rendered.language.partition("-")[0].lower()
        template, spoken = self._template(rendered.purpose.value, language)
        if template is None:
            return [deferred(delivery, Reason.CREDENTIALS) for delivery in deliveries]
        words = LEVELS.get(spoken, LEVELS["en"])
        level = words[list(Level).index(rendered.level)]
        said = {"number": rendered.number, "level": f"{words[4]}{level}" if rendered.drill else level}
        parameters = msgspec.json.encode(said).decode()

        async def one(delivery: Delivery) -> Result:
            if not isinstance(delivery.address, str) or not E164.fullmatch(delivery.address):
                return refused(delivery, Reason.BAD_ADDRESS)
            phone = delivery.address.removeprefix("+86").removeprefix("+")
            try:
                async with asyncio.timeout(self._settings.timeout_s):
                    code, reference = await self._sdk.post(
                        phone, self._settings.sign_name, template, parameters, delivery.message_id
                    )
            except (aiohttp.ClientError, OSError) as error:
                outcome, reason = failure(error)
                return Result(index=delivery.index, outcome=outcome, reason=reason)
            if code == "OK":
                return accepted(delivery, reference[:64]) if reference else in_doubt(delivery, Reason.PROVIDER_ERROR)
            outcome, reason = code_meaning(code)
            return Result(index=delivery.index, outcome=outcome, reason=reason)

        return await spread(deliveries, self._gate, self._settings.concurrency, one)

    def _template(self, purpose: str, language: str) -> tuple[str | None, str]:
        for spoken in (language, "zh"):
            template = self._settings.templates.get(f"{purpose}.{spoken}")
            if template is not None:
                return template, spoken
        return None, language

    async def close(self) -> None:
        """As Notifier.close: the SDK keeps no connection."""


def code_meaning(code: str) -> tuple[Outcome, Reason]:
    """What a code of SendSms means. One that is not in the table leaves it open, as does an answer without one."""
    if code in CODES:
        return CODES[code]
    family = code.partition(".")[0]
    if family == "isv":
        return Outcome.REFUSED, Reason.BLOCKED
    if family in {"Throttling", "ServiceUnavailable"}:
        return CODES[family]
    return Outcome.UNKNOWN, Reason.PROVIDER_ERROR


def report_rows(body: bytes) -> list[tuple[str, Row]]:
    """The (shard id, row) of each report in a push of the service; messages that are not ours are left out.

    Raises ValueError for what is no push of reports.
    """
    reports = msgspec.json.decode(body)
    if not isinstance(reports, list) or len(reports) > MOST_REPORTS:
        raise ValueError("not a list of reports")
    found: list[tuple[str, Row]] = []
    for report in reports:
        if not isinstance(report, dict):
            raise ValueError("not a report")
        ours = _OUT_ID.fullmatch(str(report.get("out_id") or ""))
        if ours is None:
            continue
        reference = str(report.get("biz_id") or "")[:64]
        if report.get("success") is True:
            outcome, reason = Outcome.DELIVERED, Reason.NONE
        else:
            outcome = Outcome.REFUSED
            reason = REPORTS.get(str(report.get("err_code") or ""), Reason.UNDELIVERED)
        found.append((ours[1], Row(int(ours[2]), outcome, 0, reason, reference)))
    return found


class _Sdk:
    """The border to the SDK, which has no types and is imported only where it is used."""

    def __init__(self, client: Any, models: Any, runtime: Any, errors: tuple[type[Exception], ...]) -> None:
        self._client, self._models, self._runtime, self._errors = client, models, runtime, errors

    async def post(self, phone: str, sign: str, template: str, parameters: str, out_id: str) -> tuple[str, str]:
        """The answer's code and the service's id of the message."""
        request = self._models.SendSmsRequest(
            phone_numbers=phone, sign_name=sign, template_code=template, template_param=parameters, out_id=out_id
        )
        try:
            answer = await self._client.send_sms_with_options_async(request, self._runtime)
        except self._errors as error:
            inner = getattr(error, "inner_exception", None)
            for cause in (inner, getattr(inner, "__context__", None)):
                if isinstance(cause, (aiohttp.ClientError, OSError)):
                    raise cause from None
            return str(getattr(error, "code", "") or ""), ""
        except (ValueError, TypeError, AttributeError):  # an answer that is not what the SDK expects
            return "", ""
        body = answer.body
        return str(getattr(body, "code", "") or ""), str(getattr(body, "biz_id", "") or "")


def _sdk(settings: AliyunSettings) -> _Sdk:
    try:
        from alibabacloud_dysmsapi20170525 import models  # noqa: PLC0415  an extra
        from alibabacloud_dysmsapi20170525.client import Client  # noqa: PLC0415
        from alibabacloud_tea_openapi.utils_models import Config  # type: ignore[attr-defined]  # noqa: PLC0415
        from darabonba.runtime import RuntimeOptions  # noqa: PLC0415
        from Tea.exceptions import TeaException  # noqa: PLC0415
    except ImportError:
        raise InvalidInput(
            "aliyun.extra", "Aliyun's SDK is not installed.", "Install the extra: pip install 'fenghuo[aliyun]'."
        ) from None
    milliseconds = int(settings.timeout_s * 1000)
    config = Config(
        access_key_id=settings.access_key_id,
        access_key_secret=settings.access_key_secret,
        endpoint=settings.endpoint,
        protocol=settings.protocol,
        user_agent="fenghuo",
    )
    # Trying again is for retry.py: a repeat by the SDK would be a second message.
    runtime = RuntimeOptions(autoretry=False, max_attempts=1, connect_timeout=milliseconds, read_timeout=milliseconds)
    return _Sdk(Client(config), models, runtime, (TeaException,))
