"""Signed tree heads: the text of a checkpoint, the note around it, and the keys that sign and witness it.

Formats: C2SP signed-note and tlog-checkpoint, so that tools nobody here wrote can verify the log; and the Ed25519
form of C2SP tlog-cosignature, with which a witness says when it saw the head. Pure: a signer is handed in as a
function, for private keys live in infra. A note is bytes, since its signatures cover bytes; its text is `str`.
"""

import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from typing import Self

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from domain.errors import InvalidInput, VerificationFailed
from domain.merkle import EMPTY_ROOT, HASH_SIZE

ED25519 = 0x01
"""Signature type of a plain Ed25519 signature over the note's text (C2SP signed-note)."""

COSIGNATURE = 0x04
"""Signature type of a witness's Ed25519 signature with a time (C2SP tlog-cosignature)."""

MAX_SIGNATURES = 100
"""Signature lines read from one note; the format asks for 16 at the least."""

MAX_NOTE_BYTES = 1 << 20
"""Notes longer than this are refused before they are parsed."""

Sign = Callable[[bytes], bytes]
"""Ed25519 over a message: 64 bytes."""

Verify = Callable[[bytes, bytes, bytes], bool]
"""Whether (public key, signature, message) agree."""

_EM_DASH = "\N{EM DASH} "
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)


class NoteError(InvalidInput):
    """A note, key or checkpoint that does not follow its format."""

    def __init__(self, message: str) -> None:
        super().__init__("note.malformed", message)


class UntrustedError(VerificationFailed):
    """A note that is well formed but lacks a signature it needs, or carries a false one by a known key."""

    def __init__(self, message: str) -> None:
        super().__init__("note.untrusted", message, "Do not rely on it, and keep it: it may be evidence.")


class VerifierKey(msgspec.Struct, frozen=True):
    """A public key with the name it signs under; encoded `name+keyid+base64(kind, key)` (C2SP signed-note).

    `kind` is `ED25519` or `COSIGNATURE`. Raises `NoteError` for a name that has spaces or a plus, another kind, or a
    key that is not 32 bytes.
    """

    name: str
    public_key: bytes
    kind: int = ED25519

    def __post_init__(self) -> None:
        _check_name(self.name)
        if self.kind not in (ED25519, COSIGNATURE):
            raise NoteError(f"unknown signature type {self.kind:#04x}")
        if len(self.public_key) != 32:
            raise NoteError(f"an Ed25519 public key has 32 bytes, not {len(self.public_key)}")

    @property
    def key_id(self) -> bytes:
        """Four bytes that tell this key from others of its name; a hint, not a secure hash."""
        return sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public_key).digest()[:4]

    def encode(self) -> str:
        """The key as one line, for configuration files and for other tools."""
        return f"{self.name}+{self.key_id.hex()}+{_base64(bytes([self.kind]) + self.public_key)}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The key written as one line. Raises `NoteError` if it is malformed or its key id is not its own."""
        parts = text.split("+", 2)  # base64 may hold a plus, the name and the id may not
        if len(parts) != 3:
            raise NoteError("a verifier key is name+keyid+key")
        material = _unbase64(parts[2])
        key = cls(parts[0], material[1:], material[0] if material else 0)
        if parts[1] != key.key_id.hex():
            raise NoteError(f"key id {parts[1]!r} is not that of {key.name}'s key, {key.key_id.hex()}")
        return key


class Signature(msgspec.Struct, frozen=True):
    """One signature line: who, which of their keys, and what the key's type makes of the rest."""

    name: str
    key_id: bytes
    blob: bytes

    def line(self) -> str:
        """The line as it stands in a note, newline included."""
        return f"{_EM_DASH}{self.name} {_base64(self.key_id + self.blob)}\n"


class Note(msgspec.Struct, frozen=True):
    """A text ending in a newline, and the signatures under it. Nothing about it is verified: see `open_note`."""

    text: str
    signatures: tuple[Signature, ...] = ()

    def encode(self) -> bytes:
        """The note's bytes. Raises `NoteError` without any signature, or for a text that no note may have."""
        _check_text(self.text)
        if not self.signatures:
            raise NoteError("a note has at least one signature")
        return f"{self.text}\n{''.join(s.line() for s in self.signatures)}".encode()

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """The note in these bytes, unverified. Raises `NoteError` for anything the format does not allow."""
        if len(raw) > MAX_NOTE_BYTES:
            raise NoteError(f"a note of {len(raw)} bytes is refused; the limit is {MAX_NOTE_BYTES}")
        try:
            whole = raw.decode()
        except UnicodeDecodeError as exc:
            raise NoteError("a note is UTF-8") from exc
        # The last blank line divides, because the text may hold blank lines of its own.
        text, blank, rest = whole.rpartition("\n\n")
        if not blank or not rest.endswith("\n"):
            raise NoteError("a note ends in a blank line and signature lines")
        _check_text(text + "\n")
        lines = rest[:-1].split("\n")
        if len(lines) > MAX_SIGNATURES:
            raise NoteError(f"a note with {len(lines)} signatures is refused; the limit is {MAX_SIGNATURES}")
        return cls(text + "\n", tuple(_parse_signature(line) for line in lines))

    def signed_by(self, *more: Signature) -> Self:
        """The same note with more signatures, such as those of witnesses."""
        return type(self)(self.text, (*self.signatures, *more))


class OpenedNote(msgspec.Struct, frozen=True):
    """A note's text together with the keys whose signatures under it were verified."""

    text: str
    keys: tuple[VerifierKey, ...]


class Checkpoint(msgspec.Struct, frozen=True):
    """A log's tree head: which log, how many leaves, which root (C2SP tlog-checkpoint).

    `origin` names the log and should equal its key's name. `extensions` are further lines that the format allows and
    nothing here reads. Raises `NoteError` for a head that cannot be.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for line in (self.origin, *self.extensions):
            if not line or "\n" in line:
                raise NoteError("an origin or an extension is one line, and not empty")
        # Other tools hold the size in a signed 64-bit integer.
        if not 0 <= self.size < 1 << 63:
            raise NoteError(f"{self.size} is no tree size")
        if len(self.root) != HASH_SIZE:
            raise NoteError(f"a root has {HASH_SIZE} bytes, not {len(self.root)}")
        if self.size == 0 and self.root != EMPTY_ROOT:
            raise NoteError("the empty tree has one root only")
        _check_text(self.text())

    def text(self) -> str:
        """The note text of this head: the exact characters that are signed."""
        lines = (self.origin, str(self.size), _base64(self.root), *self.extensions)
        return "".join(f"{line}\n" for line in lines)

    @classmethod
    def parse(cls, text: str) -> Self:
        """The head in a note's text. Raises `NoteError` unless writing it again gives the same text."""
        *lines, end = text.split("\n")
        if end or len(lines) < 3:
            raise NoteError("a checkpoint has at least three lines, each ended")
        origin, size, root, *extensions = lines
        if not _SIZE.fullmatch(size):
            raise NoteError(f"{size[:40]!r} is no tree size")
        return cls(origin, int(size), _unbase64(root), tuple(extensions))


def sign(text: str, key: VerifierKey, signer: Sign) -> Signature:
    """A plain signature under a note's text. `signer` holds the private half of `key`, which is of kind `ED25519`."""
    if key.kind != ED25519:
        raise NoteError("a witness's key signs with a time: use cosign")
    return Signature(key.name, key.key_id, signer(_check_text(text)))


def cosign(text: str, key: VerifierKey, at_s: int, signer: Sign) -> Signature:
    """A witness's signature: that at `at_s` (POSIX seconds) this was the largest head it had seen of this log.

    `key` is of kind `COSIGNATURE`. The witness must have checked consistency with its last head before.
    """
    if key.kind != COSIGNATURE:
        raise NoteError("a log's key signs without a time: use sign")
    if not 0 <= at_s < 1 << 63:
        raise NoteError(f"{at_s} is no POSIX time")
    _check_text(text)
    return Signature(key.name, key.key_id, at_s.to_bytes(8) + signer(_cosigned(text, at_s)))


def cosigned_at_s(signature: Signature) -> int:
    """When a witness says it signed, in POSIX seconds. Means something only after the note was opened."""
    if len(signature.blob) != 72:
        raise NoteError("a cosignature has 8 bytes of time and 64 of signature")
    return int.from_bytes(signature.blob[:8])


def ed25519(public_key: bytes, signature: bytes, message: bytes) -> bool:
    """Whether the Ed25519 signature is right (RFC 8032); the `Verify` used unless another is handed in."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def open_note(raw: bytes, keys: Iterable[VerifierKey], verify: Verify = ed25519) -> OpenedNote:
    """The text of a note, if a known key signed it.

    Lines by unknown keys are passed over. Raises `NoteError` if the note is malformed and `UntrustedError` if no known
    key signed it or if the signature of a known key is false, even when others hold (C2SP signed-note).
    """
    note = Note.parse(raw)
    known = {(key.name, key.key_id): key for key in keys}
    verified: dict[VerifierKey, None] = {}
    for signature in note.signatures:
        key = known.get((signature.name, signature.key_id))
        if key is None or key in verified:
            continue
        if not _holds(note.text, key, signature, verify):
            raise UntrustedError(f"the signature of {key.name} is false")
        verified[key] = None
    if not verified:
        raise UntrustedError("no known key signed this note")
    return OpenedNote(note.text, tuple(verified))


def open_checkpoint(
    raw: bytes, log: VerifierKey, witnesses: Sequence[VerifierKey] = (), quorum: int = 0, verify: Verify = ed25519
) -> Checkpoint:
    """The tree head in a note, if the log itself signed it and at least `quorum` witnesses did.

    Raises `NoteError` if it is malformed, `UntrustedError` if a signature is missing or false, or if the head is that
    of another log. Witnesses are counted by name, so that one of them with two keys does not make a quorum.
    """
    opened = open_note(raw, (log, *witnesses), verify)
    if log not in opened.keys:
        raise UntrustedError(f"{log.name} did not sign this checkpoint")
    seen_by = {key.name for key in opened.keys} - {log.name}
    if len(seen_by) < quorum:
        raise UntrustedError(f"{len(seen_by)} of {quorum} witnesses signed this checkpoint")
    checkpoint = Checkpoint.parse(opened.text)
    if checkpoint.origin != log.name:
        raise UntrustedError(f"this is a checkpoint of {checkpoint.origin!r}, not of {log.name}")
    return checkpoint


def _holds(text: str, key: VerifierKey, signature: Signature, verify: Verify) -> bool:
    if key.kind == ED25519:
        return verify(key.public_key, signature.blob, text.encode())
    if len(signature.blob) != 72:
        return False
    return verify(key.public_key, signature.blob[8:], _cosigned(text, cosigned_at_s(signature)))


def _cosigned(text: str, at_s: int) -> bytes:
    return f"cosignature/v1\ntime {at_s}\n{text}".encode()


def _parse_signature(line: str) -> Signature:
    name, space, encoded = line.removeprefix(_EM_DASH).partition(" ")
    if not line.startswith(_EM_DASH) or not space:
        raise NoteError("a signature line is an em dash, a name and a signature")
    _check_name(name)
    blob = _unbase64(encoded)
    if len(blob) < 5:
        raise NoteError("a signature has a key id and more")
    return Signature(name, blob[:4], blob[4:])


def _check_name(name: str) -> None:
    if not name or any(c.isspace() or c == "+" or c < " " for c in name) or not _is_unicode(name):
        raise NoteError(f"{name!r} cannot name a key: no spaces, plus signs or control characters")


def _check_text(text: str) -> bytes:
    if not text.endswith("\n"):
        raise NoteError("a note's text ends in a newline")
    if any(c < " " and c != "\n" for c in text) or not _is_unicode(text):
        raise NoteError("a note's text holds no control characters and no half characters")
    return text.encode()


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= c <= "\udfff" for c in text)


def _base64(data: bytes) -> str:
    return b64encode(data).decode()


def _unbase64(text: str) -> bytes:
    try:
        data = b64decode(text, validate=True)
    except ValueError as exc:
        raise NoteError("not base64") from exc
    # Decoders ignore the last character's spare bits; two spellings of one signature must not both pass.
    if _base64(data) != text:
        raise NoteError("base64 in another than its one spelling")
    return data
