"""The vault: each person's key, the index of addresses, and the program's own secrets, in a database beside the log.

What is here is the sealing; `infra/keys.py` keeps the rows in a file, `infra/keys_postgres.py` in PostgreSQL.

Personal fields are sealed with AES-256-GCM under a key per person; the stream and version of the event are bound in as
associated data. Person keys are stored wrapped by a master key that lies in a file of its own (mode 0600). Destroying
a person's key is what forgetting means: the log stays whole and what was sealed becomes noise.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from domain.errors import Refused, VerificationFailed
from domain.private import Sealed
from infra.key_file import KEY_FILE, KEY_SIZE, kept_key
from infra.keys import TABLES, Keys, SqliteKeys

NONCE = 12
CACHED_KEYS = 8_000  # 2.5 KB each
PORTION = 500  # keys that are asked for at once


class FileVault:
    """The vault port; its master key is the file `master.key` in the folder. Thread-safe.

    `keys` keeps the rows (for None: `vault.sqlite` in the same folder); `randomness(n)` gives n bytes.
    """

    def __init__(self, folder: Path, randomness: Callable[[int], bytes] = os.urandom, keys: Keys | None = None) -> None:
        self._random = randomness
        path = folder / "vault.sqlite"
        there = keys if keys is not None else SqliteKeys(path) if path.exists() else None
        self._master = AESGCM(kept_key(folder, partial(self._new_master, folder, there)))
        self._lock = threading.RLock()
        self._keys: dict[str, AESGCM | None] = {}
        self._version = 0
        self._asked = 0.0  # when the version was asked for
        self._rows = there if there is not None else SqliteKeys(path)
        self._pepper = self.secret("address-pepper")

    def _new_master(self, folder: Path, there: Keys | None) -> bytes:
        """For a new vault alone: to one with rows another key would be of no use, and pass for the one that it lacks.

        Raises VerificationFailed where there are rows, unless another process has just made both.
        """
        if there is not None and any(map(there.count, TABLES)) and not (folder / KEY_FILE).exists():
            raise VerificationFailed(
                "vault.master_key",
                f"There is no {KEY_FILE} in {folder}, and the vault was sealed with one.",
                f"Restore {KEY_FILE} from its backup, or name its folder.",
            )
        return self._random(KEY_SIZE)

    def seal(self, key_id: str, bound_to: str, fields: dict[str, Any]) -> Sealed:
        key = self._key(key_id, create=True)
        if key is None:
            raise Refused("person.forgotten", "The key of this person was destroyed; nothing more is kept of them.")
        nonce = self._random(NONCE)
        box = nonce + key.encrypt(nonce, msgspec.json.encode(fields), bound_to.encode())
        return Sealed(key_id=key_id, bound_to=bound_to, box=base64.b64encode(box).decode())

    def open(self, sealed: Sealed) -> dict[str, Any] | None:
        return self._opened(sealed, self._key(sealed.key_id, create=False))

    def open_all(self, boxes: Sequence[Sealed]) -> list[dict[str, Any] | None]:
        with self._lock:
            self._notice_others()
            keys = self._known_keys({box.key_id for box in boxes})
        return [self._opened(box, keys.get(box.key_id)) for box in boxes]

    def _opened(self, sealed: Sealed, key: AESGCM | None) -> dict[str, Any] | None:
        if key is None:
            return None
        try:
            box = base64.b64decode(sealed.box, validate=True)
            plain = key.decrypt(box[:NONCE], box[NONCE:], sealed.bound_to.encode())
        except (InvalidTag, ValueError) as error:  # ValueError: not even the shape of a box
            raise VerificationFailed("vault.altered", f"The sealed data of {sealed.bound_to} was altered.") from error
        fields: dict[str, Any] = msgspec.json.decode(plain)
        return fields

    def prepare(self, key_ids: list[str]) -> None:
        """Makes missing keys in one transaction, ahead of a large import."""
        with self._lock:
            self._notice_others()
            unknown = [key_id for key_id in dict.fromkeys(key_ids) if key_id not in self._keys]
            there = self._rows.wrapped(unknown)
            self._rows.add(
                [(key_id, self._wrap(key_id, self._random(32))) for key_id in unknown if key_id not in there]
            )

    def forget(self, key_id: str) -> None:
        with self._lock:
            self._keys[key_id] = None
            self._rows.destroy(key_id)

    def remember_addresses(self, rows: list[tuple[str, str, str]]) -> int:
        """Many (kind, address, person id) in one transaction; the mark of this noting."""
        with self._lock:
            self._notice_others()
            keys = self._known_keys({who for *_, who in rows})
            forgotten = {who for who, key in keys.items() if key is None}
            return self._rows.note(
                [(self._digest(kind, address), who) for kind, address, who in rows if who not in forgotten]
            )

    def forget_addresses(self, person_ids: list[str], before: int) -> None:
        with self._lock:
            self._rows.unnote(person_ids, before)

    def whose(self, kind: str, address: str) -> str | None:
        return next(iter(self.all_with(kind, address)), None)

    def all_with(self, kind: str, address: str) -> list[str]:
        with self._lock:
            return self._rows.noted(self._digest(kind, address))

    def secret(self, name: str, size: int = 32) -> bytes:
        """A secret of the program's own (link signing, push keys), made on first use and kept."""
        with self._lock:
            wrapped = self._rows.secret(name)
            if wrapped is None:
                wrapped = self._rows.keep_secret(name, self._wrap(f"secret/{name}", self._random(size)))
            return self._unwrap(f"secret/{name}", wrapped)

    def close(self) -> None:
        with self._lock:
            self._rows.close()

    def _key(self, key_id: str, *, create: bool) -> AESGCM | None:
        with self._lock:
            # Who seals may go by what was known a moment ago: under a key that is gone, it only makes noise.
            if not create or time.monotonic() - self._asked >= self._rows.asking_s:
                self._notice_others()
            return self._known_key(key_id, create=create)

    def _notice_others(self) -> None:
        """Another process that wrote may have destroyed a key: no key from before that is good any more."""
        self._asked = time.monotonic()
        version = self._rows.version()
        if version != self._version:
            self._version = version
            self._keys.clear()

    def _known_key(self, key_id: str, *, create: bool) -> AESGCM | None:
        if key_id in self._keys:
            return self._keys[key_id]
        learned = self._learn([key_id])
        if create and not learned:
            self._rows.add([(key_id, self._wrap(key_id, self._random(32)))])
            learned = self._learn([key_id])
        return learned.get(key_id)

    def _known_keys(self, key_ids: set[str]) -> dict[str, AESGCM | None]:
        """Of many at once, also of more than are kept. None: destroyed; what was never made is left out."""
        found = {key_id: self._keys[key_id] for key_id in key_ids if key_id in self._keys}
        missing = sorted(key_ids - found.keys())
        for start in range(0, len(missing), PORTION):
            found |= self._learn(missing[start : start + PORTION])
        return found

    def _learn(self, key_ids: Sequence[str]) -> dict[str, AESGCM | None]:
        """Reads keys that are not known here yet, and keeps them for a while."""
        learned = {
            key_id: None if wrapped is None else AESGCM(self._unwrap(key_id, wrapped))
            for key_id, wrapped in self._rows.wrapped(key_ids).items()
        }
        if len(self._keys) + len(learned) > CACHED_KEYS:
            self._keys.clear()
        self._keys |= learned
        return learned

    def _wrap(self, name: str, secret: bytes) -> bytes:
        nonce = self._random(NONCE)
        return nonce + self._master.encrypt(nonce, secret, name.encode())

    def _unwrap(self, name: str, wrapped: bytes) -> bytes:
        try:
            return self._master.decrypt(wrapped[:NONCE], wrapped[NONCE:], name.encode())
        except InvalidTag as error:
            raise VerificationFailed(
                "vault.master_key",
                "The vault's master key does not fit the vault.",
                "Restore master.key from its backup.",
            ) from error

    def _digest(self, kind: str, address: str) -> bytes:
        return hmac.new(self._pepper, f"{kind}\x1f{address.strip().lower()}".encode(), hashlib.sha256).digest()
