"""The vault: each person's key, the index of addresses, and the program's own secrets, in a database beside the log.

Personal fields are sealed with AES-256-GCM under a key per person; the stream and version of the event are bound in as
associated data. Person keys are stored wrapped by a master key that lies in a file of its own (mode 0600). Destroying
a person's key is what forgetting means: the log stays whole and what was sealed becomes noise.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from domain.errors import Refused, VerificationFailed
from domain.private import Sealed

NONCE = 12
CACHED_KEYS = 8_000  # 2.5 KB each


class FileVault:
    """The vault port on SQLite. Thread-safe. `randomness(n)` gives n bytes for keys and nonces."""

    def __init__(self, folder: Path, randomness: Callable[[int], bytes] = os.urandom) -> None:
        self._random = randomness
        self._master = AESGCM(_secret_file(folder / "master.key", randomness))
        self._lock = threading.RLock()
        self._keys: dict[str, AESGCM | None] = {}
        self._version = 0
        self._db = sqlite3.connect(folder / "vault.sqlite", isolation_level=None, check_same_thread=False, timeout=30)
        (folder / "vault.sqlite").chmod(0o600)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA secure_delete=ON")
        self._db.execute("CREATE TABLE IF NOT EXISTS person_key (key_id TEXT PRIMARY KEY, wrapped BLOB) WITHOUT ROWID")
        self._make_addresses()
        self._db.execute("CREATE TABLE IF NOT EXISTS secret (name TEXT PRIMARY KEY, wrapped BLOB) WITHOUT ROWID")
        self._pepper = self.secret("address-pepper")

    def _make_addresses(self) -> None:
        """The index of addresses. One number may be several people's; an older vault kept one for each."""
        self._db.execute("BEGIN IMMEDIATE")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS addresses"
            " (digest BLOB NOT NULL, person_id TEXT NOT NULL, noted INTEGER NOT NULL,"
            " PRIMARY KEY (digest, person_id)) WITHOUT ROWID"
        )
        self._db.execute("CREATE INDEX IF NOT EXISTS addresses_person ON addresses (person_id)")
        self._db.execute("CREATE TABLE IF NOT EXISTS noting (one INTEGER PRIMARY KEY CHECK (one = 1), mark INTEGER)")
        self._db.execute("INSERT OR IGNORE INTO noting VALUES (1, 0)")
        if self._db.execute("SELECT 1 FROM sqlite_master WHERE name = 'address'").fetchone():
            self._db.execute("INSERT OR IGNORE INTO addresses SELECT digest, person_id, 0 FROM address")
            self._db.execute("DROP TABLE address")
        self._db.execute("COMMIT")

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
            keys = {box.key_id: self._known_key(box.key_id, create=False) for box in boxes}
        return [self._opened(box, keys[box.key_id]) for box in boxes]

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
            self._db.execute("BEGIN IMMEDIATE")
            try:
                for key_id in key_ids:
                    self._key(key_id, create=True)
                self._db.execute("COMMIT")
            except BaseException:
                self._db.execute("ROLLBACK")
                self._keys.clear()
                raise

    def forget(self, key_id: str) -> None:
        with self._lock:
            self._keys[key_id] = None
            self._db.execute(
                "INSERT INTO person_key VALUES (?, NULL) ON CONFLICT (key_id) DO UPDATE SET wrapped = NULL", (key_id,)
            )
            self._db.execute("DELETE FROM addresses WHERE person_id = ?", (key_id,))
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # the old key must not linger in the write-ahead log

    def remember_addresses(self, rows: list[tuple[str, str, str]]) -> int:
        """Many (kind, address, person id) in one transaction; the mark of this noting."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                mark = int(self._db.execute("UPDATE noting SET mark = mark + 1 RETURNING mark").fetchone()[0])
                self._db.executemany(
                    "INSERT INTO addresses VALUES (?, ?, ?)"
                    " ON CONFLICT (digest, person_id) DO UPDATE SET noted = excluded.noted",
                    [
                        (self._digest(kind, address), who, mark)
                        for kind, address, who in rows
                        if not self._forgotten(who)
                    ],
                )
                self._db.execute("COMMIT")
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
        return mark

    def forget_addresses(self, person_ids: list[str], before: int) -> None:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.executemany(
                    "DELETE FROM addresses WHERE person_id = ? AND noted < ?", [(who, before) for who in person_ids]
                )
                self._db.execute("COMMIT")
            except BaseException:
                self._db.execute("ROLLBACK")
                raise

    def whose(self, kind: str, address: str) -> str | None:
        return next(iter(self.all_with(kind, address)), None)

    def all_with(self, kind: str, address: str) -> list[str]:
        query = "SELECT person_id FROM addresses WHERE digest = ? ORDER BY noted DESC, person_id"
        with self._lock:
            return [str(row[0]) for row in self._db.execute(query, (self._digest(kind, address),))]

    def secret(self, name: str, size: int = 32) -> bytes:
        """A secret of the program's own (link signing, push keys), made on first use and kept."""
        with self._lock:
            row = self._db.execute("SELECT wrapped FROM secret WHERE name = ?", (name,)).fetchone()
            if row is None:
                self._db.execute(
                    "INSERT OR IGNORE INTO secret VALUES (?, ?)",
                    (name, self._wrap(f"secret/{name}", self._random(size))),
                )
                row = self._db.execute("SELECT wrapped FROM secret WHERE name = ?", (name,)).fetchone()
            return self._unwrap(f"secret/{name}", row[0])

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def _forgotten(self, key_id: str) -> bool:
        return self._key(key_id, create=False) is None and key_id in self._keys

    def _key(self, key_id: str, *, create: bool) -> AESGCM | None:
        with self._lock:
            self._notice_others()
            return self._known_key(key_id, create=create)

    def _notice_others(self) -> None:
        """Another process that wrote may have destroyed a key: no key from before that is good any more."""
        version = self._db.execute("PRAGMA data_version").fetchone()[0]
        if version != self._version:
            self._version = version
            self._keys.clear()

    def _known_key(self, key_id: str, *, create: bool) -> AESGCM | None:
        if key_id in self._keys:
            return self._keys[key_id]
        row = self._db.execute("SELECT wrapped FROM person_key WHERE key_id = ?", (key_id,)).fetchone()
        if row is None and create:
            self._db.execute(
                "INSERT OR IGNORE INTO person_key VALUES (?, ?)", (key_id, self._wrap(key_id, self._random(32)))
            )
            row = self._db.execute("SELECT wrapped FROM person_key WHERE key_id = ?", (key_id,)).fetchone()
        key = None if row is None or row[0] is None else AESGCM(self._unwrap(key_id, row[0]))
        if row is not None:
            if len(self._keys) >= CACHED_KEYS:
                self._keys.clear()
            self._keys[key_id] = key
        return key

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


def _secret_file(path: Path, randomness: Callable[[int], bytes]) -> bytes:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_bytes()
    with os.fdopen(handle, "wb") as file:
        secret = randomness(32)
        file.write(secret)
        file.flush()
        os.fsync(file.fileno())
    return secret
