"""When a delivery is tried again (notifiers/retry.py)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from domain.outcomes import Outcome, Reason
from domain.shards import Purpose
from notifiers.lasting import LEAST, WITHDRAWAL, WITHDRAWAL_LEAST, tried_until, ttl_s
from notifiers.retry import HOPELESS_AFTER, LONGEST_S, MOST_ATTEMPTS, PATIENT, next_try

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
FOREVER = NOW + timedelta(days=365)
again = st.sampled_from([Outcome.DEFERRED, Outcome.UNKNOWN])
final = st.sampled_from([Outcome.ACCEPTED, Outcome.DELIVERED, Outcome.REFUSED, Outcome.EXPIRED])
reasons = st.sampled_from(Reason)
attempts = st.integers(1, MOST_ATTEMPTS + 5)
jitters = st.floats(0, 1)
asked = st.none() | st.floats(0, 86_400)
impatient = st.sampled_from([reason for reason in Reason if reason not in PATIENT])


@given(final, reasons, attempts, jitters, asked)
def test_a_final_outcome_is_final(
    outcome: Outcome, reason: Reason, attempt: int, jitter: float, retry_after_s: float | None
) -> None:
    assert next_try(outcome, reason, attempt, NOW, FOREVER, retry_after_s, jitter) is None


@given(again, reasons, attempts, jitters, asked, st.floats(0, 90_000))
def test_never_in_the_past_never_after_the_warning_never_before_it_was_asked(
    outcome: Outcome, reason: Reason, attempt: int, jitter: float, retry_after_s: float | None, valid_s: float
) -> None:
    valid_until = NOW + timedelta(seconds=valid_s)
    at = next_try(outcome, reason, attempt, NOW, valid_until, retry_after_s, jitter)
    if at is not None:
        assert NOW < at < valid_until
        assert at >= NOW + timedelta(seconds=retry_after_s or 0)
        assert at <= NOW + timedelta(seconds=max(LONGEST_S * 1.5, retry_after_s or 0))


@given(again, reasons, st.integers(1, MOST_ATTEMPTS), jitters, asked)
def test_waits_never_get_shorter(
    outcome: Outcome, reason: Reason, attempt: int, jitter: float, retry_after_s: float | None
) -> None:
    sooner = next_try(outcome, reason, attempt, NOW, FOREVER, retry_after_s, jitter)
    later = next_try(outcome, reason, attempt + 1, NOW, FOREVER, retry_after_s, jitter)
    if later is not None:
        assert sooner is not None
        assert sooner <= later


@given(again, reasons, st.integers(1, 10**9), st.floats(allow_nan=True, allow_infinity=True), st.floats(0, 90_000))
def test_no_wait_that_a_provider_asks_for_is_too_long_or_too_odd(
    outcome: Outcome, reason: Reason, attempt: int, retry_after_s: float, valid_s: float
) -> None:
    valid_until = NOW + timedelta(seconds=valid_s)
    at = next_try(outcome, reason, attempt, NOW, valid_until, retry_after_s)
    assert at is None or NOW < at < valid_until


@given(again, st.sampled_from(sorted(PATIENT)), st.integers(1, 10_000), jitters)
def test_who_is_only_waiting_for_a_turn_waits_as_long_as_the_warning_holds(
    outcome: Outcome, reason: Reason, attempt: int, jitter: float
) -> None:
    assert next_try(outcome, reason, attempt, NOW, FOREVER, None, jitter) is not None


@given(again, impatient, jitters)
def test_it_ends(outcome: Outcome, reason: Reason, jitter: float) -> None:
    last = HOPELESS_AFTER.get(reason, MOST_ATTEMPTS)
    assert next_try(outcome, reason, last - 1, NOW, FOREVER, None, jitter) is not None
    assert next_try(outcome, reason, last, NOW, FOREVER, None, jitter) is None


@given(st.sampled_from(Purpose), st.floats(-90_000, 900_000))
def test_a_message_is_of_use_until_the_warning_ends_and_a_withdrawal_longer(purpose: Purpose, left_s: float) -> None:
    valid_until = NOW + timedelta(seconds=left_s)
    lives = timedelta(seconds=ttl_s(purpose, valid_until, NOW))
    if purpose is Purpose.CANCEL:
        assert lives >= max(WITHDRAWAL_LEAST, valid_until - NOW)
        assert valid_until + WITHDRAWAL <= tried_until(purpose, valid_until, NOW, attempt=1)
    else:
        assert lives <= max(LEAST, valid_until - NOW)
        assert tried_until(purpose, valid_until, NOW, attempt=1) == valid_until


@given(reasons, st.floats(-90_000, 9_000_000), jitters)
def test_a_withdrawal_is_tried_again_however_late_it_comes_and_not_for_ever(
    reason: Reason, late_s: float, jitter: float
) -> None:
    now, valid_until, attempt = NOW, NOW - timedelta(seconds=late_s), 0
    at: datetime | None = now
    while at is not None:
        now, attempt = at, attempt + 1
        until = tried_until(Purpose.CANCEL, valid_until, now, attempt)
        at = next_try(Outcome.DEFERRED, reason, attempt, now, until, 600.0, jitter)
    assert attempt >= HOPELESS_AFTER.get(reason, 2)
    assert attempt <= MOST_ATTEMPTS or now < valid_until + WITHDRAWAL


def test_the_last_moment_of_the_calendar_has_no_day_after() -> None:
    last = datetime.max.replace(tzinfo=UTC)
    assert tried_until(Purpose.CANCEL, last, NOW, attempt=1) <= last
    assert tried_until(Purpose.CANCEL, last, NOW, MOST_ATTEMPTS) <= last
    assert ttl_s(Purpose.CANCEL, last, NOW) > 0
