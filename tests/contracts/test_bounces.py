"""Bounces: which address stands for which message, and what the mail that comes back says of it."""

from __future__ import annotations

from email.message import EmailMessage

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.outcomes import Outcome, Reason
from notifiers.bounces import read_bounce
from notifiers.mime import mail_address
from notifiers.replies import bounce_reason
from notifiers.verp import Verp

VERP = Verp("bounces.fenghuo.example", b"s" * 32)
SHARD = "0123456789abcdef" * 2


def of(message_id: str, verp: Verp = VERP) -> str:
    address = verp.address(message_id)
    assert address is not None
    return address


@pytest.mark.parametrize("message_id", ["", "test", f"{SHARD}", f"{SHARD}.", f"{SHARD}.70000", f"{SHARD}.-1", "zz.1"])
def test_other_ids_have_no_address(message_id: str) -> None:
    assert VERP.address(message_id) is None


def report(*blocks: str, kind: str = "delivery-status", first: str = "Sorry.") -> bytes:
    """A multipart/report as mail servers write it."""
    fields = "\n\n".join(("Reporting-MTA: dns; mx.people.example", *blocks))
    return (
        "From: MAILER-DAEMON@mx.people.example\nSubject: Undelivered\nAuto-Submitted: auto-replied\nMIME-Version: 1.0\n"
        f'Content-Type: multipart/report; report-type={kind}; boundary="b"\n\n'
        f"--b\nContent-Type: text/plain\n\n{first}\n\n"
        f"--b\nContent-Type: message/{kind}\n\n{fields}\n\n"
        "--b\nContent-Type: text/rfc822-headers\n\nSubject: the warning\n\n--b--\n"
    ).encode()


def block(action: str, status: str, diagnostic: str = "") -> str:
    said = f"Final-Recipient: rfc822; a@people.example\nAction: {action}\nStatus: {status}"
    return f"{said}\nDiagnostic-Code: smtp; {diagnostic}" if diagnostic else said


@given(st.binary(min_size=16, max_size=16), st.integers(0, 65535))
def test_an_address_says_which_message_it_is_about(shard: bytes, index: int) -> None:
    address = of(f"{shard.hex()}.{index}")
    assert mail_address(address) == address
    assert len(address.partition("@")[0]) <= 64
    assert VERP.read(address) == (shard.hex(), index)
    assert VERP.read(address.upper()) == (shard.hex(), index), "mail servers may change the case"


@settings(max_examples=200)
@given(st.integers(2, 49), st.sampled_from("abcdefghijklmnopqrstuvwxyz234567"))
def test_a_changed_address_is_not_ours(place: int, letter: str) -> None:
    address = of(f"{SHARD}.7")
    if address[place] != letter:
        assert VERP.read(address[:place] + letter + address[place + 1 :]) is None


@pytest.mark.parametrize(
    "address",
    ["", "@", "b-@bounces.fenghuo.example", "b-aaaa@bounces.fenghuo.example", "postmaster@bounces.fenghuo.example",
     "b-" + "a" * 48 + "@bounces.fenghuo.example", "b-" + "é" * 30 + "@bounces.fenghuo.example",
     "b-" + "a" * 5000 + "@bounces.fenghuo.example", of(f"{SHARD}.7").partition("@")[0] + "@evil.example",
     Verp("bounces.fenghuo.example", b"t" * 32).address(f"{SHARD}.7")],
)  # fmt: skip
def test_forged_addresses(address: str) -> None:
    assert VERP.read(address) is None


@pytest.mark.parametrize(
    ("mail", "meaning"),
    [
        (report(block("failed", "5.1.1")), (Outcome.REFUSED, Reason.BAD_ADDRESS)),
        (report(block("failed", "5.2.2")), (Outcome.REFUSED, Reason.BLOCKED)),
        (report(block("failed", "5.0.0", "550 5.1.1 unknown")), (Outcome.REFUSED, Reason.BAD_ADDRESS)),
        (report(block("failed", "5.0.0", "what")), (Outcome.REFUSED, Reason.UNDELIVERED)),
        (report(block("failed", "4.4.7")), (Outcome.REFUSED, Reason.UNDELIVERED)),
        (report(block("Failed (really)", "5.7.1 (policy)")), (Outcome.REFUSED, Reason.BLOCKED)),
        (report(block("failed", "")), (Outcome.REFUSED, Reason.UNDELIVERED)),
        (report(block("delivered", "2.1.5")), (Outcome.DELIVERED, Reason.NONE)),
        (report(block("failed", "5.1.1"), block("delivered", "2.0.0")), (Outcome.DELIVERED, Reason.NONE)),
        (report(block("delayed", "4.4.1")), None),
        (report(block("relayed", "2.1.9")), None),
        (report(block("expanded", "2.0.0")), None),
        (report(block("invented", "5.1.1")), None),
        (report(), None),
        (report("Disposition: manual-action; displayed", kind="disposition-notification"), None),
        (report("Feedback-Type: abuse", kind="feedback-report"), None),
        (b"Content-Type: multipart/report\n\n", None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("null_sender", [True, False])
def test_what_reports_say(mail: bytes, meaning: tuple[Outcome, Reason] | None, null_sender: bool) -> None:
    assert read_bounce(mail, null_sender=null_sender) == meaning


def text(body: str, **headers: str) -> bytes:
    mail = EmailMessage()
    mail["Subject"] = "failure notice"
    for name, value in headers.items():
        mail[name.replace("_", "-")] = value
    mail.set_content(body)
    return mail.as_bytes()


def test_free_text_counts_from_the_null_sender_alone() -> None:
    said = text("Hi. This is the program at mx. <a@people.example>: 550 5.1.1 no such user")
    assert read_bounce(said, null_sender=True) == (Outcome.REFUSED, Reason.BAD_ADDRESS)
    assert read_bounce(said, null_sender=False) is None
    assert read_bounce(text("I could not deliver it."), null_sender=True) == (Outcome.REFUSED, Reason.UNDELIVERED)


def test_a_holiday_is_no_bounce() -> None:
    assert read_bounce(text("Bin im Urlaub.", Auto_Submitted="auto-replied"), null_sender=True) is None
    assert read_bounce(text("Bin im Urlaub.", X_Autoreply="yes"), null_sender=True) is None


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400), st.booleans())
def test_no_mail_breaks_the_reader(noise: bytes, null_sender: bool) -> None:
    whole = report(block("failed", "5.1.1"))
    for mail in (noise, whole[: len(whole) // 2] + noise, whole.replace(b"failed", noise[:20])):
        found = read_bounce(mail, null_sender=null_sender)
        assert found is None or found[0] in {Outcome.REFUSED, Outcome.DELIVERED}


@pytest.mark.parametrize("status", ["5.1.1", "5.2.2", "5.2.3", "5.6.7", "5.7.1", "4.4.7", "2.0.0", "", "x"])
def test_every_status_has_a_reason(status: str) -> None:
    assert bounce_reason(status) in Reason
    assert bounce_reason(status) is not Reason.NONE
