"""Mail: what is in it, which addresses may be in an envelope, what replies mean, and connections that die."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.headerregistry import Address
from pathlib import Path
from typing import Any

import pytest
from aiosmtplib.email import quote_address
from conftest import EmailRig, deliveries, rendered, until
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.errors import InvalidInput
from domain.outcomes import Outcome, Reason
from infra.sandbox.behaviour import Behaviour, Kind
from infra.sandbox.smtp import Mail, SandboxSmtp
from notifiers.channel import Result
from notifiers.email import EmailNotifier, EmailSettings
from notifiers.mime import header_text, mail_address
from notifiers.replies import reply_meaning


async def send(notifier: EmailNotifier, addresses: Iterable[Any], **changes: Any) -> list[Result]:
    results = await notifier.send(rendered(**changes), deliveries(list(addresses)))
    await notifier.close()
    return sorted(results, key=lambda result: result.index)


@asynccontextmanager
async def server(**options: Any) -> AsyncIterator[EmailRig]:
    rig = EmailRig()
    rig.sandbox = SandboxSmtp(**options)
    await rig.start()
    try:
        yield rig
    finally:
        await rig.stop()


def bodies(mail: Mail) -> list[str]:
    return [str(part.get_content()).replace("\r\n", "\n") for part in mail.parsed().iter_parts()]


@pytest.mark.parametrize("eight_bit", [True, False])
async def test_the_text_arrives_to_the_letter(eight_bit: bool) -> None:
    async with server(eight_bit=eight_bit) as mail:
        assert (await send(mail.notifier(), ["a@b.example"]))[0].outcome is Outcome.ACCEPTED
        (message,) = mail.sandbox.messages
    link = "https://fenghuo.example/a/0000?k=1&t=2"
    text, html = bodies(message)
    assert text == rendered().text.replace("{{link}}", link)
    assert html == rendered().html.replace("{{link}}", link.replace("&", "&amp;"))
    parsed = message.parsed()
    assert parsed["Subject"] == "台风红色预警 🌀"
    assert parsed["From"] == "烽火 <warnings@fenghuo.example>"
    assert parsed["To"] == "a@b.example"
    assert parsed["Message-ID"] == f"<{0:032x}@fenghuo.example>"
    assert parsed["Auto-Submitted"] == "auto-generated"
    assert parsed["List-Unsubscribe"] is None
    assert [part["Content-Transfer-Encoding"] for part in parsed.iter_parts()] == [
        "8bit" if eight_bit else "base64"
    ] * 2
    assert not any(part.defects for part in parsed.walk())
    assert eight_bit or message.content.isascii()


@pytest.mark.parametrize("text", ["长" * 400, "a" * 999, "nul \0 here", "{{link}}" * 30])
async def test_what_eight_bits_cannot_carry_is_encoded(mail: EmailRig, text: str) -> None:
    (result,) = await send(mail.notifier(), ["a@b.example"], text=text)
    assert result.outcome is Outcome.ACCEPTED
    (message,) = mail.sandbox.messages
    assert bodies(message)[0] == text.replace("{{link}}", "https://fenghuo.example/a/0000?k=1&t=2") + "\n"
    assert max(len(line) for line in message.content.split(b"\r\n")) <= 998
    assert b"\0" not in message.content


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=300), st.text(max_size=300))
async def test_any_text_and_any_subject_survive(text: str, subject: str) -> None:
    async with server() as mail:
        results = await send(mail.notifier(), ["a@b.example"], text=text, html=text, subject=subject)
        assert results[0].outcome is Outcome.ACCEPTED
        (message,) = mail.sandbox.messages
    expected = text.replace("\r\n", "\n").replace("\r", "\n")
    expected = expected if expected.endswith("\n") else expected + "\n"
    payload = next(iter(message.parsed().iter_parts())).get_payload(decode=True)
    assert isinstance(payload, bytes)
    assert payload.decode().replace("\r\n", "\n").rstrip("\n") == expected.rstrip("\n")
    assert str(message.parsed()["Subject"]).strip() == header_text(subject)


async def test_a_subject_cannot_add_a_header(mail: EmailRig) -> None:
    await send(mail.notifier(), ["a@b.example"], subject="A\r\nBcc: evil@evil.example\r\n\r\nX")
    (message,) = mail.sandbox.messages
    assert message.parsed()["Bcc"] is None
    assert message.parsed()["Subject"] == "A Bcc: evil@evil.example X"


@pytest.mark.parametrize(
    "changes",
    [
        {"message_id": "x>\r\nBcc: evil@evil.example"},
        {"message_id": "x y"},
        {"message_id": ""},
        {"link": "https://x/\r\n.\r\nMAIL FROM:<evil@evil.example>"},
        {"link": "https://x/ y"},
    ],
)
async def test_ids_and_links_cannot_break_out(mail: EmailRig, changes: dict[str, Any]) -> None:
    notifier = mail.notifier()
    results = await notifier.send(rendered(), deliveries(["a@b.example"], **changes))
    await notifier.close()
    assert [(r.outcome, r.reason) for r in results] == [(Outcome.REFUSED, Reason.CONTENT_REFUSED)]
    assert mail.taken() == 0


async def test_a_link_in_html_cannot_leave_its_attribute(mail: EmailRig) -> None:
    notifier = mail.notifier()
    await notifier.send(rendered(), deliveries(["a@b.example"], link="https://x/'><script>"))
    await notifier.close()
    assert "<script>" not in bodies(mail.sandbox.messages[0])[1]


async def test_unsubscribing_is_offered_where_the_settings_say_so(mail: EmailRig) -> None:
    header = "<mailto:stop@fenghuo.example>, <https://fenghuo.example/stop>"
    await send(EmailNotifier(mail.settings(unsubscribe=header)), ["a@b.example"])
    assert mail.sandbox.messages[0].parsed()["List-Unsubscribe"] == header


@pytest.mark.parametrize(
    "changes",
    [
        {"sender": "nobody"},
        {"sender": "a@b.example\r\nX: y"},
        {"bounces_to": "a b@c.example"},
        {"message_domain": "x\r\ny"},
        {"unsubscribe": "stop@fenghuo.example"},
        {"unsubscribe": "<mailto:a@b.example>\r\nBcc: <evil@evil.example>"},
    ],
)
def test_settings_that_cannot_be_right(changes: dict[str, str]) -> None:
    fields: dict[str, Any] = {"host": "h", "sender": "a@b.example", **changes}
    with pytest.raises(InvalidInput):
        EmailNotifier(EmailSettings(**fields))


def test_settings_show_no_secret() -> None:
    settings = EmailSettings(host="h", sender="a@b.example", username="user-7", password="secret-7")
    assert "-7" not in repr(settings) + str(settings)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("a@b.example", "a@b.example"),
        ("o'neil+x_y.z@sub.b.example", "o'neil+x_y.z@sub.b.example"),
        ("a@例子.中国", "a@xn--fsqu00a.xn--fiqs8s"),
        ("张三@例子.中国", "张三@xn--fsqu00a.xn--fiqs8s"),
        ("a" * 64 + "@b.example", "a" * 64 + "@b.example"),
        ("a" * 65 + "@b.example", None),
        (".a@b.example", None),
        ("a..b@b.example", None),
        ("a@b..example", None),
        ("a@-b.example", None),
        ("a@b.example ", None),
        ("a@b.example\n", None),
        ("a@[127.0.0.1]", None),
        ('"a b"@b.example', None),
        ("A <a@b.example>", None),
        ("a@b.example, c@d.example", None),
        ("a@b.example> SIZE=1", None),
        ("a\u00a0b@b.example", None),
        ("a\u202eb@b.example", None),
        ("a@" + "b" * 64 + ".example", None),
        ("@b.example", None),
        ("a@", None),
        ("a@" + "。" * 3, None),
    ],
)
def test_which_addresses_are_taken(text: str, address: str | None) -> None:
    assert mail_address(text) == address


@given(st.text(max_size=80) | st.from_regex(r"[a-z\r\n<>\" ,;@\x00]{1,20}@[a-z.\r\n> ]{1,20}"))
@settings(max_examples=300)
def test_an_address_holds_nothing_that_smtp_could_misread(text: str) -> None:
    address = mail_address(text)
    if address is not None:
        assert address.count("@") == 1
        assert not set(address) & set(' \t\r\n\0<>",;:()[]\\')
        assert quote_address(address) == f"<{address}>", "the library must put it on the wire as it is"
        if address.isascii():
            assert Address(addr_spec=address).addr_spec == address


async def test_another_script_needs_a_server_that_takes_it() -> None:
    async with server(utf8=True) as mail:
        (result,) = await send(mail.notifier(), ["张三@b.example"])
        assert result.outcome is Outcome.ACCEPTED
        assert mail.sandbox.messages[0].to == "张三@b.example"
        assert mail.sandbox.messages[0].parsed()["To"] == "张三@b.example"
    async with server(utf8=False) as mail:
        results = await send(mail.notifier(), ["张三@b.example", "a@b.example"])
        assert [(r.outcome, r.reason) for r in results] == [
            (Outcome.REFUSED, Reason.BAD_ADDRESS),
            (Outcome.ACCEPTED, Reason.NONE),
        ]


@pytest.mark.parametrize(
    ("code", "message", "phase", "meaning"),
    [
        (421, "4.3.2 closing", 1, (Outcome.DEFERRED, Reason.PROVIDER_BUSY)),
        (450, "4.2.1 greylisted", 2, (Outcome.DEFERRED, Reason.PROVIDER_BUSY)),
        (452, "4.3.1 full", 3, (Outcome.DEFERRED, Reason.PROVIDER_BUSY)),
        (530, "5.7.0 authenticate", 1, (Outcome.DEFERRED, Reason.CREDENTIALS)),
        (535, "5.7.8 wrong", 1, (Outcome.DEFERRED, Reason.CREDENTIALS)),
        (550, "5.7.1 sender not ours", 1, (Outcome.DEFERRED, Reason.CREDENTIALS)),
        (550, "5.1.1 unknown", 2, (Outcome.REFUSED, Reason.BAD_ADDRESS)),
        (550, "unknown", 2, (Outcome.REFUSED, Reason.BAD_ADDRESS)),
        (553, "bad name", 2, (Outcome.REFUSED, Reason.BAD_ADDRESS)),
        (550, "5.7.1 policy", 2, (Outcome.REFUSED, Reason.BLOCKED)),
        (554, "5.7.1 policy", 3, (Outcome.REFUSED, Reason.BLOCKED)),
        (552, "5.2.2 mailbox full", 2, (Outcome.REFUSED, Reason.BLOCKED)),
        (550, "5.2.1 disabled", 2, (Outcome.REFUSED, Reason.BAD_ADDRESS)),
        (552, "5.3.4 too large", 3, (Outcome.REFUSED, Reason.CONTENT_REFUSED)),
        (554, "spam", 3, (Outcome.REFUSED, Reason.CONTENT_REFUSED)),
        (-1, "not smtp", 3, (Outcome.UNKNOWN, Reason.PROVIDER_ERROR)),
        (299, "not smtp", 2, (Outcome.DEFERRED, Reason.PROVIDER_ERROR)),
        (450, "4.7.28 too many", 1, (Outcome.DEFERRED, Reason.RATE_LIMITED)),
        (454, "4.7.0 TLS not available", 1, (Outcome.DEFERRED, Reason.PROVIDER_BUSY)),
        (503, "5.5.1 nested MAIL", 2, (Outcome.DEFERRED, Reason.PROVIDER_ERROR)),
        (503, "bad sequence", 3, (Outcome.DEFERRED, Reason.PROVIDER_ERROR)),
        (550, "5.1.8 sender's domain unknown", 2, (Outcome.DEFERRED, Reason.CREDENTIALS)),
        (552, "5.3.4 too large", 1, (Outcome.REFUSED, Reason.CONTENT_REFUSED)),
        (550, "5.4.4 no way there", 2, (Outcome.REFUSED, Reason.BAD_ADDRESS)),
        (556, "5.1.10 takes no mail", 2, (Outcome.REFUSED, Reason.BAD_ADDRESS)),
        (550, "5.6.7 no such script here", 2, (Outcome.REFUSED, Reason.BAD_ADDRESS)),
        (550, "5.7.28 too many", 2, (Outcome.DEFERRED, Reason.RATE_LIMITED)),
        (554, "5.7.1 <a@b.example>: Relay access denied", 2, (Outcome.DEFERRED, Reason.CREDENTIALS)),
        (550, "relaying denied", 2, (Outcome.DEFERRED, Reason.CREDENTIALS)),
        (550, "5.1.1 relay.example does not know you", 2, (Outcome.REFUSED, Reason.BAD_ADDRESS)),
    ],
)
def test_what_replies_mean(code: int, message: str, phase: int, meaning: tuple[Outcome, Reason]) -> None:
    assert reply_meaning(code, message, phase) == meaning


@pytest.mark.parametrize(
    ("behaviour", "meaning"),
    [
        (Behaviour(Kind.REFUSE, code=553), (Outcome.REFUSED, Reason.BAD_ADDRESS)),
        (Behaviour(Kind.REFUSE, code=571), (Outcome.REFUSED, Reason.BLOCKED)),
        (Behaviour(Kind.REFUSE, code=554), (Outcome.REFUSED, Reason.CONTENT_REFUSED)),
        (Behaviour(Kind.DEFER, code=452), (Outcome.DEFERRED, Reason.PROVIDER_BUSY)),
        (Behaviour(Kind.DEFER, code=421), (Outcome.DEFERRED, Reason.PROVIDER_BUSY)),
    ],
)
async def test_refusals_leave_the_connection_usable(
    mail: EmailRig, behaviour: Behaviour, meaning: tuple[Outcome, Reason]
) -> None:
    mail.behave("bad@b.example", behaviour)
    notifier = EmailNotifier(mail.settings(connections=1))
    results = await send(notifier, ["a@b.example", "bad@b.example", "c@b.example"])
    assert [(r.outcome, r.reason) for r in results] == [
        (Outcome.ACCEPTED, Reason.NONE),
        meaning,
        (Outcome.ACCEPTED, Reason.NONE),
    ]
    assert mail.sandbox.connections == (2 if behaviour.code == 421 else 1)


async def test_connections_are_kept(mail: EmailRig) -> None:
    notifier = mail.notifier()
    for _ in range(5):
        await notifier.send(rendered(), deliveries([mail.someone() for _ in range(20)]))
    await notifier.close()
    assert mail.taken() == 100
    assert mail.sandbox.connections <= 8


async def test_the_same_words_are_one_letter_within_a_minute_however_long_they_are_of_use(mail: EmailRig) -> None:
    now = datetime(2026, 7, 1, 8, 0, tzinfo=UTC)
    notifier = EmailNotifier(mail.settings(), now=lambda: now)
    address = mail.someone()
    for changes in ({"ttl_s": 3600}, {"ttl_s": 3599}, {"ttl_s": 3598, "subject": "other words"}):
        await notifier.send(rendered(**changes), deliveries([address]))
    now += timedelta(minutes=1)
    await notifier.send(rendered(), deliveries([address]))
    await notifier.close()
    first, second, third, fourth = (sent.parsed().get_boundary() for sent in mail.sandbox.sent_to(address))
    assert first == second
    assert len({first, third, fourth}) == 3  # a boundary is made up anew for each letter


async def test_a_connection_dropped_while_idle_loses_no_mail(mail: EmailRig) -> None:
    notifier = EmailNotifier(mail.settings(connections=2))
    for number in range(4):
        (result,) = await notifier.send(rendered(), deliveries([f"a{number}@b.example"]))
        assert result.outcome is Outcome.ACCEPTED
        mail.sandbox.drop_connections()  # and not a moment for the client to notice
    await notifier.close()
    assert mail.taken() == 4


async def test_a_dialogue_that_was_cancelled_is_not_taken_up_again(mail: EmailRig) -> None:
    # The late reply to the first mail must not be read as that to the second one's MAIL.
    mail.behave("slow@b.example", Behaviour(Kind.SLOW, delay_s=0.1))
    notifier = EmailNotifier(mail.settings(connections=1))
    sending = asyncio.create_task(notifier.send(rendered(), deliveries(["slow@b.example"])))
    await until(lambda: mail.taken() == 1)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    (result,) = await notifier.send(rendered(), deliveries(["a@b.example"]))
    await notifier.close()
    assert (result.outcome, mail.sandbox.connections) == (Outcome.ACCEPTED, 2)


async def test_a_server_that_was_away_is_tried_again(mail: EmailRig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("notifiers.lines.DOWN_S", 0.0)
    notifier = mail.notifier()
    await mail.stop()
    (away,) = await notifier.send(rendered(), deliveries(["a@b.example"]))
    await mail.start()
    (back,) = await notifier.send(rendered(), deliveries(["a@b.example"]))
    await notifier.close()
    assert (away.outcome, back.outcome) == (Outcome.DEFERRED, Outcome.ACCEPTED)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    """A server's TLS context for 127.0.0.1, and the file that a client must trust for it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sandbox")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    file, private = folder / "cert.pem", folder / "key.pem"
    file.write_bytes(made.public_bytes(Encoding.PEM))
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, private)
    return context, file


@pytest.mark.parametrize(
    ("changes", "meaning"),
    [
        ({}, (Outcome.ACCEPTED, Reason.NONE)),
        ({"password": "wrong"}, (Outcome.DEFERRED, Reason.CREDENTIALS)),
        ({"username": ""}, (Outcome.DEFERRED, Reason.CREDENTIALS)),
        ({"ca_file": ""}, (Outcome.DEFERRED, Reason.UNREACHABLE)),
        ({"tls": "none"}, (Outcome.DEFERRED, Reason.CREDENTIALS)),
    ],
)
async def test_tls_and_login(
    certificate: tuple[ssl.SSLContext, Path], changes: dict[str, str], meaning: tuple[Outcome, Reason]
) -> None:
    context, file = certificate
    async with server(tls=context, login=("duty", "beacon")) as mail:
        fields = {"tls": "starttls", "ca_file": str(file), "username": "duty", "password": "beacon", **changes}
        results = await send(EmailNotifier(mail.settings(**fields)), ["a@b.example", "c@b.example"])
    assert [(r.outcome, r.reason) for r in results] == [meaning] * 2


async def test_a_server_without_tls_gets_nothing_where_tls_is_asked_for(mail: EmailRig) -> None:
    (result,) = await send(EmailNotifier(mail.settings(tls="starttls")), ["a@b.example"])
    assert (result.outcome, mail.taken()) == (Outcome.DEFERRED, 0)


@given(
    st.integers(400, 599),
    st.from_regex(r"([245]\.[0-9]{1,3}\.[0-9]{1,3} )?[a-z ]{0,20}", fullmatch=True),
    st.sampled_from([1, 2, 3]),
)
@settings(max_examples=300)
def test_every_reply_has_a_meaning_and_only_a_lasting_one_refuses(code: int, message: str, phase: int) -> None:
    outcome, reason = reply_meaning(code, message, phase)
    assert reason is not Reason.NONE
    assert outcome in ({Outcome.DEFERRED} if code < 500 else {Outcome.DEFERRED, Outcome.REFUSED})


@pytest.mark.parametrize("notify", ["FAILURE", "SUCCESS,FAILURE", ""])
@pytest.mark.parametrize("offered", [True, False])
async def test_word_of_the_fate_is_asked_for_where_the_server_offers_it(offered: bool, notify: Any) -> None:
    async with server(dsn=offered) as mail:
        results = await send(EmailNotifier(mail.settings(notify=notify)), ["a@b.example", "c@b.example"])
        assert {result.outcome for result in results} == {Outcome.ACCEPTED}
        asked = sorted(mail.sandbox.asked)
    assert asked == ([f"NOTIFY={notify}"] * 2 + ["RET=HDRS"] * 2 if offered and notify else [])


async def test_each_mail_may_have_an_envelope_sender_of_its_own(mail: EmailRig) -> None:
    await send(
        EmailNotifier(mail.settings(), envelope_of=lambda message_id: f"b-{message_id}@x.example"), ["a@b.example"]
    )
    assert mail.sandbox.messages[0].sender == f"b-{0:032x}@x.example"
    assert mail.sandbox.messages[0].parsed()["From"] == "烽火 <warnings@fenghuo.example>"
