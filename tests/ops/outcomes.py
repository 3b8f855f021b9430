"""Writes docs/outcomes.md from the channels' own tables and functions: `make outcomes`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path

from domain.outcomes import Outcome, Reason
from notifiers import voice, webhook
from notifiers.account import Answered, meaning
from notifiers.aliyun import CODES, REPORTS, code_meaning
from notifiers.breaker import FIRST_S as OPEN_S
from notifiers.breaker import OPENS_AFTER, OURS
from notifiers.failover import PROBE
from notifiers.lasting import WITHDRAWAL
from notifiers.replies import bounce_reason, reply_meaning
from notifiers.retry import FIRST_S, HOPELESS_AFTER, LONGEST_S, MOST_ATTEMPTS, WAITS
from notifiers.sms import FAILURES, REFUSALS
from notifiers.webpush import status_meaning

TARGET = Path(__file__).resolve().parents[2] / "docs" / "outcomes.md"
Meaning = tuple[Outcome, Reason]

INTRO = """\
# What a provider's answer is taken for

Made by `make outcomes` from the code; a test holds them together. The words are those of `domain/outcomes.py`.

Three questions decide a row. Did the provider take the message? Then it is *accepted*, and *delivered* only once a
receipt says so. Is it certain that nothing was taken? Then it is *refused* where trying again cannot help, and
*deferred* where it can. Is neither certain? Then it is *unknown*: it may be on its way, and it is sent again, because a
repeat does less harm than silence.

Wrong credentials settle nobody at once, since an operator can mend them while the warning is valid: {credentials}
attempts. Faults on the provider's side get {error} at the most, whatever else is deferred or unknown {most}; what only
waits for its turn at a rate is never given up. The first wait is about {first:.0f} seconds (credentials {slow:.0f},
rates {fast:.0f}), the longest about {longest:.0f} (rates {rates:.0f}), and more where the provider asks for it; nothing
is tried after the warning's validity, its withdrawal {withdrawal} hours longer (`notifiers/retry.py`,
`notifiers/lasting.py`).

Where a channel has several providers, what is *deferred* goes to the next one in the same attempt, and what is
*unknown* does not. After {failures} failures in a row of a provider's own ({ours})
it is left alone for {open:.0f} seconds, then for twice as long each time, and tried with {probe} recipients
(`notifiers/breaker.py`, `notifiers/failover.py`).
"""

SMS = """\
## SMS: the answer to a request

By HTTP status and the provider's error code (`notifiers/sms.py`). Of 429 and 5xx the status alone counts.
"""

CALLBACKS = """\
## SMS: what callbacks say later

`delivered` and `read` are *delivered*; `canceled` is refused as `stopped`; `undelivered` and `failed` are *refused*,
for the reason that their error code gives. Other states change nothing.
"""

VOICE = """\
## Voice calls: the answer to a request

By HTTP status as for SMS, and by these error codes (`notifiers/voice.py`).
"""

CALLS = """\
## Voice calls: how they ended

A key that was pressed is *delivered* at once. Otherwise the last callback says it: `completed` is *delivered* unless a
machine picked up; the others are *refused*. Of a failed call the SIP code gives the reason, where it is known.
"""

EMAIL = """\
## Email

By the reply's code, its enhanced code (RFC 3463) where there is one, and the command that it answers
(`notifiers/replies.py`). What comes before the content has handed nothing over. A connection that is lost before that
is asked again on another one, three times in all; of two mails on a pipelined connection only the one whose content was
begun is ever in doubt.
"""

BOUNCES = """\
## Email: what bounces say later

By the action and the status of a report (RFC 3464) that came to the envelope sender of the one mail which it is about
(`notifiers/bounces.py`). `delivered` is *delivered*; `failed` is *refused*, for the reason that the status gives;
`delayed`, `relayed` and `expanded` change nothing, nor do reports of reading or abuse and automatic answers. Free text
counts as failed where it comes from the null sender.
"""

PUSH = """\
## Web Push

By the push service's HTTP status (`notifiers/webpush.py`). 200, 201, 202 and 204 are *accepted*; there are no receipts.
Redirects are not followed.
"""

HOOKS = """\
## Webhooks

By the receiver's HTTP status (`notifiers/webhook.py`). The receiver itself answers and no carrier stands between, so
any 2xx is its receipt. Redirects are not followed.
"""

CHAT = """\
## Chat

The library (`notifiers/chat.py`) says only whether a service took a message: then it is *accepted*, and there are no
receipts. Where it did not, and nothing had been sent, it is deferred as `unreachable`; where something had, it is
unknown as `provider_error`. A connection into a private network is refused as `bad_address`.
"""

ALIYUN = """\
## SMS through Aliyun: the answer to a request

By the code in the answer (`notifiers/aliyun.py`), whatever the HTTP status. `OK` is *accepted*. Where there is no
approved template for the purpose and language, nothing is sent: deferred as `credentials`.
"""

REPORT = """\
## SMS through Aliyun: what reports say later

`success` is *delivered*; anything else is *refused*, for the reason that `err_code` gives.
"""

NETWORK = """\
## No answer at all

| What happened | Outcome | Reason |
|---|---|---|
| no connection, name unknown, certificate not trusted | deferred | `unreachable` |
| the connection broke after the request, or after DATA | unknown | `connection_lost` |
| no answer in time after the request, or after DATA | unknown | `timeout` |
| this program ended between the intent and the outcome | unknown | `crash` |
| the channel says nothing of a message, or breaks | unknown | `provider_error` |
| an address that leads into a private network, or to no host | refused | `bad_address` |
| no address of this kind, or the person was forgotten | refused | `no_address` |
| this installation has no provider for the channel | deferred | `credentials` |
| a premium-rate or other special number, a country that is not allowed, the spend limit | refused | `not_allowed` |
| a provider that is left alone, and no other | deferred | `unreachable` |
| a rate of ours, for a minute | deferred | `rate_limited` |
| the warning's validity ended first | expired | `validity_over` |
"""


def table(head: str, rows: Iterable[tuple[str, Meaning]]) -> str:
    """Rows of equal meaning become one."""
    merged: dict[Meaning, list[str]] = {}
    for what, meant in rows:
        merged.setdefault(meant, []).append(what)
    lines = [f"| {head} | Outcome | Reason |", "|---|---|---|"]
    lines += [f"| {', '.join(what)} | {outcome} | `{reason}` |" for (outcome, reason), what in merged.items()]
    return "\n".join(lines) + "\n"


def sms() -> str:
    statuses = (301, 400, 401, 403, 404, 408, 425, 429, 500, 502, 503, 504)
    rows: list[tuple[str, Meaning]] = [(f"HTTP {s}", meaning(Answered(s, 0, None), REFUSALS)) for s in statuses]
    rows += [(str(code), meaning(Answered(400, code, None), REFUSALS)) for code in sorted(REFUSALS)]
    return table("HTTP status without a known code, or error code", rows)


def callbacks() -> str:
    rows = [(str(code), (Outcome.REFUSED, reason)) for code, reason in sorted(FAILURES.items())]
    return table("Error code", [*rows, ("any other", (Outcome.REFUSED, Reason.UNDELIVERED))])


def voice_requests() -> str:
    rows = [(str(code), meaning(Answered(400, code, None), voice.REFUSALS)) for code in sorted(voice.REFUSALS)]
    return table("Error code", rows)


def calls() -> str:
    said = [
        ("completed", {"CallStatus": "completed"}),
        ("completed, answered by a machine or a fax", {"CallStatus": "completed", "AnsweredBy": "machine_start"}),
        *((status, {"CallStatus": status}) for status in voice.ENDINGS),
        *((f"SIP {code}", {"CallStatus": "failed", "SipResponseCode": str(code)}) for code in voice.SIP),
    ]
    rows = [(what, row[:2]) for what, params in said if (row := voice.call_to_row(params)) is not None]
    return table("Ending", [(what, meant) for what, meant in rows]).replace("``", "–")


def email() -> str:
    def rows(phase: int, replies: Iterable[str]) -> list[tuple[str, Meaning]]:
        return [(reply, reply_meaning(int(reply[:3]), reply[4:], phase)) for reply in replies]

    bare = ("421", "450", "451", "452", "454", "500", "503", "530", "535", "550", "552", "553", "554", "555", "556")
    replies = (
        *bare, "421 4.7.28", "550 5.1.1", "550 5.1.8", "550 5.2.1", "552 5.2.2", "552 5.3.4", "521 5.3.2", "550 5.4.4",
        "503 5.5.1", "554 5.6.0", "550 5.6.7", "550 5.7.1", "554 5.7.1 Relay access denied", "550 5.7.28",
    )  # fmt: skip
    return "\n".join(
        f"Answer to {name}:\n\n{table('Reply', rows(phase, replies))}"
        for phase, name in ((1, "MAIL"), (2, "RCPT"), (3, "DATA"))
    )


def bounces() -> str:
    statuses = ("5.1.1", "5.1.8", "5.2.1", "5.2.2", "5.2.3", "5.3.4", "5.4.4", "4.4.7", "5.5.0", "5.6.0", "5.7.1")
    rows: list[tuple[str, Meaning]] = [(status, (Outcome.REFUSED, bounce_reason(status))) for status in statuses]
    return table("Status", [*rows, ("none, or any other", (Outcome.REFUSED, bounce_reason("")))])


def push() -> str:
    statuses = (400, 401, 403, 404, 406, 408, 410, 413, 429, 500, 502)
    rows: list[tuple[str, Meaning]] = [(str(status), status_meaning(status, says_when=False)) for status in statuses]
    rows += [
        ("503 with Retry-After", status_meaning(503, says_when=True)),
        ("503", status_meaning(503, says_when=False)),
    ]
    return table("Status", rows)


def hooks() -> str:
    statuses = (200, 202, 204, 302, 400, 401, 403, 404, 408, 410, 413, 422, 425, 429, 500, 502, 503, 504)
    rows: list[tuple[str, Meaning]] = [(str(s), webhook.status_meaning(s, says_when=False)) for s in statuses]
    return table("Status", [*rows, ("503 with Retry-After", webhook.status_meaning(503, says_when=True))])


def aliyun() -> str:
    rows: list[tuple[str, Meaning]] = [(f"`{code}`", CODES[code]) for code in sorted(CODES)]
    rows += [("another `isv.` code", code_meaning("isv.x")), ("any other, or none", code_meaning(""))]
    return table("Code", rows)


def reports() -> str:
    rows = [(f"`{code}`", (Outcome.REFUSED, reason)) for code, reason in sorted(REPORTS.items())]
    return table("Code", [*rows, ("any other", (Outcome.REFUSED, Reason.UNDELIVERED))])


def page() -> str:
    intro = INTRO.format(
        credentials=HOPELESS_AFTER[Reason.CREDENTIALS], error=HOPELESS_AFTER[Reason.PROVIDER_ERROR],
        most=MOST_ATTEMPTS, first=FIRST_S, longest=LONGEST_S,
        slow=WAITS[Reason.CREDENTIALS][0], fast=WAITS[Reason.RATE_LIMITED][0], rates=WAITS[Reason.RATE_LIMITED][1],
        failures=OPENS_AFTER, ours=", ".join(f"`{r}`" for r in sorted(OURS)), open=OPEN_S, probe=PROBE,
        withdrawal=WITHDRAWAL // timedelta(hours=1),
    )  # fmt: skip
    sections: list[tuple[str, Callable[[], str]]] = [
        (SMS, sms), (CALLBACKS, callbacks), (VOICE, voice_requests), (CALLS, calls),
        (ALIYUN, aliyun), (REPORT, reports), (EMAIL, email), (BOUNCES, bounces), (PUSH, push), (HOOKS, hooks),
    ]  # fmt: skip
    return "\n".join([intro, *(f"{words}\n{make()}" for words, make in sections), CHAT, NETWORK])


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
