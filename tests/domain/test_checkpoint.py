"""Checkpoints and signed notes: the exact bytes, what is trusted, and what is turned away."""

from base64 import b64encode
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from domain import checkpoint as cp
from domain import merkle

ORIGIN = "fenghuo.example/log/test"


def private(seed: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(sha256(seed.encode()).digest())


def public(seed: str, name: str, kind: int = cp.ED25519) -> cp.VerifierKey:
    return cp.VerifierKey(name, private(seed).public_key().public_bytes_raw(), kind)


LOG = public("log", ORIGIN)
WITNESS = public("w1", "witness.example/one", cp.COSIGNATURE)
SECOND = public("w2", "witness.example/two", cp.COSIGNATURE)
HEAD = cp.Checkpoint(ORIGIN, 3, merkle.root([merkle.leaf_hash(b"a"), merkle.leaf_hash(b"b"), merkle.leaf_hash(b"c")]))


def signed(head: cp.Checkpoint = HEAD) -> cp.Note:
    return cp.Note(head.text(), (cp.sign(head.text(), LOG, private("log").sign),))


def cosigned(note: cp.Note, *names: str) -> cp.Note:
    for seed, key in (("w1", WITNESS), ("w2", SECOND)):
        if seed in names:
            note = note.signed_by(cp.cosign(note.text, key, 1_800_000_000, private(seed).sign))
    return note


def test_a_checkpoint_is_three_lines() -> None:
    assert HEAD.text() == f"{ORIGIN}\n3\n{b64encode(HEAD.root).decode()}\n"
    assert cp.Checkpoint.parse(HEAD.text()) == HEAD


def test_the_note_is_built_byte_by_byte_as_the_format_says() -> None:
    key = private("log").public_key().public_bytes_raw()
    key_id = sha256(ORIGIN.encode() + b"\n\x01" + key).digest()[:4]
    signature = private("log").sign(HEAD.text().encode())
    line = b"\xe2\x80\x94 " + ORIGIN.encode() + b" " + b64encode(key_id + signature) + b"\n"
    assert signed().encode() == HEAD.text().encode() + b"\n" + line
    assert LOG.encode() == f"{ORIGIN}+{key_id.hex()}+{b64encode(bytes([1]) + key).decode()}"


def test_a_cosignature_is_built_byte_by_byte_as_the_format_says() -> None:
    key = private("w1").public_key().public_bytes_raw()
    signature = cp.cosign(HEAD.text(), WITNESS, 1_800_000_000, private("w1").sign)
    message = f"cosignature/v1\ntime 1800000000\n{HEAD.text()}".encode()
    assert signature.key_id == sha256(WITNESS.name.encode() + b"\n\x04" + key).digest()[:4]
    assert signature.blob == (1_800_000_000).to_bytes(8, "big") + private("w1").sign(message)
    assert cp.cosigned_at_s(signature) == 1_800_000_000


@pytest.mark.parametrize("key", [LOG, WITNESS])
def test_a_key_survives_its_one_line(key: cp.VerifierKey) -> None:
    assert cp.VerifierKey.parse(key.encode()) == key


@pytest.mark.parametrize(
    "line",
    [
        "",
        ORIGIN,
        LOG.encode().replace(ORIGIN, "another.example"),
        LOG.encode().replace(LOG.key_id.hex(), "00000000"),
        LOG.encode().replace(LOG.key_id.hex(), LOG.key_id.hex().upper() + "A"),
        LOG.encode()[:-4],
        f"{ORIGIN}+{LOG.key_id.hex()}+",
        f"{ORIGIN}+{LOG.key_id.hex()}+****",
        f"{ORIGIN}+{LOG.key_id.hex()}+{b64encode(bytes([9]) + LOG.public_key).decode()}",
    ],
)
def test_a_damaged_key_is_refused(line: str) -> None:
    with pytest.raises(cp.NoteError):
        cp.VerifierKey.parse(line)


@pytest.mark.parametrize("name", ["", "two words", "a+b", "thin\u2009space", "bell\x07", "half\ud800"])
def test_a_name_that_would_break_the_line_is_refused(name: str) -> None:
    with pytest.raises(cp.NoteError):
        cp.VerifierKey(name, LOG.public_key)


def test_a_signed_checkpoint_opens() -> None:
    assert cp.open_checkpoint(signed().encode(), LOG) == HEAD


def test_other_peoples_signatures_are_passed_over() -> None:
    note = cosigned(signed(), "w1")
    namesake = cp.Signature(ORIGIN, b"\0\0\0\0", b"x" * 64)
    assert cp.open_checkpoint(note.signed_by(namesake).encode(), LOG) == HEAD
    with pytest.raises(cp.UntrustedError):
        cp.open_note(note.encode(), [public("stranger", ORIGIN)])


def test_a_false_signature_of_a_known_key_spoils_the_note() -> None:
    forged = cp.Signature(WITNESS.name, WITNESS.key_id, (5).to_bytes(8) + bytes(64))
    short = cp.Signature(WITNESS.name, WITNESS.key_id, bytes(64))
    for bad in (forged, short):
        raw = signed().signed_by(bad).encode()
        assert cp.open_checkpoint(raw, LOG) == HEAD
        with pytest.raises(cp.UntrustedError):
            cp.open_checkpoint(raw, LOG, [WITNESS])


def test_a_quorum_counts_witnesses() -> None:
    both = cosigned(signed(), "w1", "w2").encode()
    assert cp.open_checkpoint(both, LOG, [WITNESS, SECOND], quorum=2) == HEAD
    one = cosigned(signed(), "w1").encode()
    assert cp.open_checkpoint(one, LOG, [WITNESS, SECOND], quorum=1) == HEAD
    with pytest.raises(cp.UntrustedError):
        cp.open_checkpoint(one, LOG, [WITNESS, SECOND], quorum=2)


def test_one_witness_with_two_keys_or_two_lines_is_one_witness() -> None:
    other = public("w1 again", WITNESS.name)
    note = cosigned(cosigned(signed(), "w1"), "w1").signed_by(cp.sign(HEAD.text(), other, private("w1 again").sign))
    assert cp.open_checkpoint(note.encode(), LOG, [WITNESS, other], quorum=1) == HEAD
    with pytest.raises(cp.UntrustedError):
        cp.open_checkpoint(note.encode(), LOG, [WITNESS, other], quorum=2)


def test_witnesses_do_not_replace_the_log() -> None:
    note = cosigned(cp.Note(HEAD.text()), "w1", "w2")
    with pytest.raises(cp.UntrustedError):
        cp.open_checkpoint(note.encode(), LOG, [WITNESS, SECOND], quorum=2)


def test_a_checkpoint_of_another_log_is_turned_away() -> None:
    with pytest.raises(cp.UntrustedError):
        cp.open_checkpoint(signed(cp.Checkpoint("other.example/log", HEAD.size, HEAD.root)).encode(), LOG)


@given(position=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_any_flipped_bit_is_noticed(position: int, bit: int) -> None:
    raw = bytearray(signed().encode())
    raw[position % len(raw)] ^= 1 << bit
    with pytest.raises((cp.NoteError, cp.UntrustedError)):
        cp.open_checkpoint(bytes(raw), LOG)


def test_a_verifier_may_be_handed_in() -> None:
    asked: list[bytes] = []

    def verify(key: bytes, signature: bytes, message: bytes) -> bool:
        asked.append(key + signature + message)
        return True

    assert cp.open_checkpoint(signed().encode(), LOG, verify=verify) == HEAD
    assert asked == [LOG.public_key + private("log").sign(HEAD.text().encode()) + HEAD.text().encode()]


def test_a_text_with_blank_lines_is_divided_at_the_last() -> None:
    text = "first\n\nsecond — not a signature\n\n\n"
    raw = cp.Note(text, (cp.sign(text, LOG, private("log").sign),)).encode()
    assert cp.open_note(raw, [LOG]) == cp.OpenedNote(text, (LOG,))


GOOD = signed().encode()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\n",
        HEAD.text().encode(),
        HEAD.text().encode() + b"\n",
        GOOD[:-1],
        GOOD + b"\n",
        GOOD.replace(b"\n", b"\r\n"),
        GOOD.replace("—".encode(), b"-"),
        GOOD.replace("— ".encode(), "—  ".encode()),
        GOOD[:-1] + b"=\n",
        GOOD[:-2] + b"\n",
        GOOD[:-1] + b" \n",
        GOOD + "— name AAAA\n".encode(),
        GOOD + "— name\n".encode(),
        GOOD + "— na+me AAAAAAAA\n".encode(),
        b"\xff" + GOOD,
        b"\x07" + GOOD,
        HEAD.text().encode() + b"\n" + GOOD.split(b"\n\n")[1] * (cp.MAX_SIGNATURES + 1),
        b"x" * cp.MAX_NOTE_BYTES + GOOD,
    ],
)
def test_a_malformed_note_is_refused(raw: bytes) -> None:
    with pytest.raises(cp.NoteError):
        cp.open_note(raw, [LOG])


ROOT = b64encode(HEAD.root).decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"{ORIGIN}\n3\n",
        f"{ORIGIN}\n3\n{ROOT}",
        f"\n3\n{ROOT}\n",
        f"{ORIGIN}\n03\n{ROOT}\n",
        f"{ORIGIN}\n+3\n{ROOT}\n",
        f"{ORIGIN}\n-3\n{ROOT}\n",
        f"{ORIGIN}\n３\n{ROOT}\n",
        f"{ORIGIN}\n{1 << 63}\n{ROOT}\n",
        f"{ORIGIN}\n{'9' * 5000}\n{ROOT}\n",
        f"{ORIGIN}\n0\n{ROOT}\n",
        f"{ORIGIN}\n3\nAAAA\n",
        f"{ORIGIN}\n3\n{ROOT} \n",
        f"{ORIGIN}\n3\n{ROOT}\n\nmore\n",
        f"{ORIGIN}\r\n3\n{ROOT}\n",
    ],
)
def test_a_malformed_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(cp.NoteError):
        cp.Checkpoint.parse(text)


def test_an_empty_log_has_a_checkpoint_and_extensions_are_kept() -> None:
    for head in (cp.Checkpoint(ORIGIN, 0, merkle.EMPTY_ROOT), cp.Checkpoint(ORIGIN, 3, HEAD.root, ("one", "two"))):
        assert cp.Checkpoint.parse(head.text()) == head


@pytest.mark.parametrize("origin", ["", "two\nlines", "tab\there"])
def test_an_origin_that_would_break_the_text_is_refused(origin: str) -> None:
    with pytest.raises(cp.NoteError):
        cp.Checkpoint(origin, 3, HEAD.root)


def test_a_key_of_one_kind_does_not_sign_as_the_other() -> None:
    with pytest.raises(cp.NoteError):
        cp.sign(HEAD.text(), WITNESS, private("w1").sign)
    with pytest.raises(cp.NoteError):
        cp.cosign(HEAD.text(), LOG, 1, private("log").sign)
    with pytest.raises(cp.NoteError):
        cp.cosign(HEAD.text(), WITNESS, -1, private("w1").sign)
    with pytest.raises(cp.NoteError):
        cp.cosigned_at_s(signed().signatures[0])


def test_unsigned_notes_and_unended_texts_are_not_written() -> None:
    with pytest.raises(cp.NoteError):
        cp.Note(HEAD.text()).encode()
    with pytest.raises(cp.NoteError):
        cp.sign("no newline", LOG, private("log").sign)
