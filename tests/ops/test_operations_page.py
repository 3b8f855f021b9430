"""What docs/operations.md tells an operator to do works as it is written there."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sys
from pathlib import Path

from domain.people import Channel
from infra.cli.commands import PLACES, loaded
from infra.stores import Stores
from tests.ops.installation import install
from tests.ops.locks import ROOT
from tests.ops.process import environment, fenghuo

PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


async def test_the_backup_of_the_page_restores_to_the_same_log_also_while_it_is_written(tmp_path: Path) -> None:
    data, backup, keys, restored = (tmp_path / name for name in ("data", "backup", "keys", "restored"))
    await install(data, 5, channels=(Channel.SMS, Channel.EMAIL))
    for folder in (backup, keys, restored):
        folder.mkdir(mode=0o700)
    (block,) = re.findall(r"```sh\n(for name in proof.*?)```", PAGE, re.DOTALL)
    async with Stores(data) as stores:  # it runs on
        await stores.sign()
        end = stores.log.last_position_now()
        await asyncio.to_thread(_shell, block, DATA=data, BACKUP=backup, KEYS=keys)
    for name in ("proof", "log", "vault"):
        shutil.copy(backup / f"{name}.sqlite", restored)
    shutil.copy(keys / "master.key", restored)
    assert (keys / "master.key").stat().st_mode & 0o777 == 0o600
    status, out, err = await fenghuo("log", "verify", "--json", folder=restored)
    assert status == 0, err
    assert f'"events":{end}' in out
    async with Stores(restored) as stores:
        sealed = stores.views.directory.sealed
        with stores.views.reading() as db:
            (box,) = sealed(db, ["person-00000"]).values()
        opened = stores.vault.open(box)
        assert opened is not None
        assert opened["name"] == "Name 0"


def _shell(block: str, **folders: Path) -> None:
    path = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
    env = environment(PATH=path, **{name: str(folder) for name, folder in folders.items()})
    done = subprocess.run(["sh", "-euc", block], env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_each_command_of_the_page_exists() -> None:
    named = set(re.findall(r"`fenghuo ([a-z-]+)(?: ([a-z-]+))?[^`]*`", PAGE.replace("\n", " ")))
    assert len(named) > 8
    for first, second in named:
        assert first in PLACES, f"fenghuo {first}"
        command = loaded(first)
        if second and hasattr(command, "commands"):
            assert second in command.commands, f"fenghuo {first} {second}"


def test_each_file_that_the_page_names_is_there() -> None:
    for path in re.findall(r"\]\(((?!http)[^)#]+)\)", PAGE):
        assert (ROOT / "docs" / path).exists(), path
    for path in re.findall(r"`?(infra/ops/[\w./@-]+)", PAGE):
        assert (ROOT / path.rstrip(".")).exists(), path
