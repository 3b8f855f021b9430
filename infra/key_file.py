"""`master.key`, the file that opens the vault: for its owner alone, and there whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from domain.errors import Unreachable, VerificationFailed

KEY_FILE = "master.key"
KEY_SIZE = 32
NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})


def read_key(folder: Path) -> bytes:
    """The key of a data folder. Raises VerificationFailed where its file holds none, OSError where there is no file."""
    key = (folder / KEY_FILE).read_bytes()
    if len(key) != KEY_SIZE:
        raise VerificationFailed(
            "vault.master_key",
            f"{KEY_FILE} has {len(key)} bytes in place of {KEY_SIZE}.",
            f"Restore {KEY_FILE} from its backup.",
        )
    return key


def kept_key(folder: Path, make: Callable[[], bytes]) -> bytes:
    """The key of a data folder; where it has none, `make` gives it one, unless another process comes first.

    Raises VerificationFailed for a file that holds no key, Unreachable where it cannot be read or written.
    """
    try:
        if not (folder / KEY_FILE).exists():
            _put(folder, make())
        return read_key(folder)
    except OSError as error:
        raise Unreachable(
            "vault.failed",
            f"{KEY_FILE} cannot be read or written: {error.strerror}.",
            "Check the folder, its rights and the room on its disk.",
        ) from error


def _write(path: Path, key: bytes) -> None:
    """On a file system without links. Who starts at this very moment may find half a key, and is told so."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        path.unlink()
        raise


def _put(folder: Path, key: bytes) -> None:
    """Written under another name first: nobody who starts at this moment, or after a crash, finds half a key."""
    handle, name = tempfile.mkstemp(prefix=f"{KEY_FILE}-", dir=folder)  # of mode 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # then the other's is the key
            try:
                (folder / KEY_FILE).hardlink_to(name)
            except OSError as error:
                if error.errno not in NO_LINKS:
                    raise
                _write(folder / KEY_FILE, key)
    finally:
        Path(name).unlink()
    names = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(names)  # the name, too, outlasts the loss of power
    finally:
        os.close(names)
