"""Writes docs/outcomes.md from the channels' own tables and functions: `make outcomes`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from domain.outcomes import Outcome, Reason
from notifiers.breaker import FIRST_S as OPEN_S
from notifiers.breaker import OPENS_AFTER, OURS
from notifiers.email import reply_meaning
from notifiers.failover import PROBE
from notifiers.retry import FIRST_S, HOPELESS_AFTER, LONGEST_S, MOST_ATTEMPTS, WAITS
from notifiers.sms import FAILURES, REFUSALS, _Answered, _meaning
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
is tried after the warning's validity (`notifiers/retry.py`).

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

EMAIL = """\
## Email

By the reply's code, its enhanced code (RFC 3463) where there is one, and the command that it answers
(`notifiers/email.py`). What comes before DATA has handed nothing over.
"""

PUSH = """\
## Web Push

By the push service's HTTP status (`notifiers/webpush.py`). 200, 201, 202 and 204 are *accepted*; there are no receipts.
Redirects are not followed.
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
    for what, meaning in rows:
        merged.setdefault(meaning, []).append(what)
    lines = [f"| {head} | Outcome | Reason |", "|---|---|---|"]
    lines += [f"| {', '.join(what)} | {outcome} | `{reason}` |" for (outcome, reason), what in merged.items()]
    return "\n".join(lines) + "\n"


def sms() -> str:
    statuses = (301, 400, 401, 403, 404, 408, 425, 429, 500, 502, 503, 504)
    rows: list[tuple[str, Meaning]] = [(f"HTTP {s}", _meaning(_Answered(s, 0, None))) for s in statuses]
    rows += [(str(code), _meaning(_Answered(400, code, None))) for code in sorted(REFUSALS)]
    return table("HTTP status without a known code, or error code", rows)


def callbacks() -> str:
    rows = [(str(code), (Outcome.REFUSED, reason)) for code, reason in sorted(FAILURES.items())]
    return table("Error code", [*rows, ("any other", (Outcome.REFUSED, Reason.UNDELIVERED))])


def email() -> str:
    def rows(phase: int, replies: Iterable[str]) -> list[tuple[str, Meaning]]:
        return [(reply, reply_meaning(int(reply[:3]), reply[4:], phase)) for reply in replies]

    bare = ("421", "451", "452", "530", "535", "550", "552", "554")
    replies = (*bare, "550 5.1.1", "550 5.2.1", "552 5.2.2", "550 5.7.1")
    return "\n".join(
        f"Answer to {name}:\n\n{table('Reply', rows(phase, replies))}"
        for phase, name in ((1, "MAIL"), (2, "RCPT"), (3, "DATA"))
    )


def push() -> str:
    statuses = (400, 401, 403, 404, 406, 408, 410, 413, 429, 500, 502)
    rows: list[tuple[str, Meaning]] = [(str(status), status_meaning(status, says_when=False)) for status in statuses]
    rows += [
        ("503 with Retry-After", status_meaning(503, says_when=True)),
        ("503", status_meaning(503, says_when=False)),
    ]
    return table("Status", rows)


def page() -> str:
    intro = INTRO.format(
        credentials=HOPELESS_AFTER[Reason.CREDENTIALS], error=HOPELESS_AFTER[Reason.PROVIDER_ERROR],
        most=MOST_ATTEMPTS, first=FIRST_S, longest=LONGEST_S,
        slow=WAITS[Reason.CREDENTIALS][0], fast=WAITS[Reason.RATE_LIMITED][0], rates=WAITS[Reason.RATE_LIMITED][1],
        failures=OPENS_AFTER, ours=", ".join(f"`{r}`" for r in sorted(OURS)), open=OPEN_S, probe=PROBE,
    )  # fmt: skip
    sections: list[tuple[str, Callable[[], str]]] = [(SMS, sms), (CALLBACKS, callbacks), (EMAIL, email), (PUSH, push)]
    return "\n".join([intro, *(f"{words}\n{make()}" for words, make in sections), NETWORK])


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
