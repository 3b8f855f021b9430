"""Compose file, image and units, checked without an engine: what they name is there, and they are sealed."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel
from typer.exceptions import TyperException

from domain.rulepacks import LANES
from infra.cli.commands import PLACES, loaded
from infra.config import PREFIX, Settings, load
from infra.runtime import DRAIN_S
from infra.serve import GRACE_S
from tests.ops.locks import ROOT

OPS = ROOT / "infra" / "ops"
UNITS = sorted((OPS / "systemd").glob("*.service"))
PROGRAM = "/opt/fenghuo/bin/fenghuo"

SAMPLE = {"FENGHUO_DATABASE_URL": "postgresql://fenghuo:secret@postgres:5432/fenghuo", "FENGHUO_EMAIL__PASSWORD": "x"}


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((OPS / "compose.yaml").read_text(encoding="utf-8"))
    return found


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose()["services"]
    return found


def ours() -> dict[str, dict[str, Any]]:
    return {name: service for name, service in services().items() if service["image"].startswith("fenghuo")}


def unit(path: Path) -> dict[str, list[str]]:
    """All values by `Section.Key`."""
    found: dict[str, list[str]] = {}
    section = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(f"{section}.{key}", []).append(value)
    return found


# What they name is there ----------------------------------------------------------------------------------------------


def known(arguments: list[str]) -> None:
    """Fails where these are no arguments of `fenghuo`."""
    name, *rest = arguments
    assert name in PLACES, f"fenghuo {name} is no command"
    try:
        loaded(name).make_context(name, rest)
    except TyperException as error:
        raise AssertionError(f"fenghuo {shlex.join(arguments)}: {error.format_message()}") from None


def section(annotation: Any) -> type[BaseModel] | None:
    """The settings section that a field holds."""
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        return next((found for part in typing.get_args(annotation) if (found := section(part))), None)
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def must_be_setting(name: str) -> None:
    """Fails where a variable is of no setting."""
    top, *below = name.removeprefix(PREFIX).lower().split("__")
    if top == "config" and not below:
        return
    assert top in Settings.model_fields, f"{name} is no setting"
    model = section(Settings.model_fields[top].annotation)
    for part in below:
        assert model is not None, f"{name}: {top} has no parts"
        assert part in model.model_fields, f"{name} is no setting"
        model = section(model.model_fields[part].annotation)


def loads(variables: Mapping[str, str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings of a process with these variables; files of secrets are stood in for."""
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(folder)
    for name, value in variables.items():
        assert name.startswith(PREFIX)
        plain = name.removesuffix("_FILE")
        must_be_setting(plain)
        if plain != name:
            secret = folder / plain
            secret.write_text(SAMPLE[plain] + "\n", encoding="utf-8")
            monkeypatch.setenv(name, str(secret))
            continue
        monkeypatch.setenv(name, value)
    return load()


@pytest.mark.parametrize("name", sorted(ours()))
def test_a_service_has_settings_and_a_command_that_exist(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = ours()[name]
    known(service["command"])
    variables: dict[str, str] = service["environment"]
    assert all(isinstance(value, str) for value in variables.values())
    read = loads(variables, tmp_path, monkeypatch)
    assert read.data_dir == Path("/var/lib/fenghuo")
    assert read.data_dir.as_posix() in [volume.partition(":")[2] for volume in service["volumes"]]
    for variable, value in variables.items():
        if variable.endswith("_FILE"):
            assert value.removeprefix("/run/secrets/") in service["secrets"]
    well = service.get("healthcheck")
    if well is None:
        assert service["restart"] == "no"
        return
    (port,) = re.findall(r"127\.0\.0\.1:(\d+)/healthz", well["test"][-1])
    serves = service["command"][0] == "serve"
    assert int(port) == (int(service["command"][-1]) if serves else read.metrics_port)
    compile(well["test"][-1], "healthcheck", "exec")


def test_what_services_refer_to_is_defined() -> None:
    whole = compose()
    for name, service in services().items():
        for kind in ("secrets", "networks"):
            assert set(service.get(kind, ())) <= whole[kind].keys(), f"{name}: {kind}"
        for volume in service.get("volumes", ()):
            assert volume.partition(":")[0] in whole["volumes"], f"{name}: {volume}"
        for other, how in service.get("depends_on", {}).items():
            before = services()[other]
            ends = how["condition"] == "service_completed_successfully"
            assert ends == (before.get("restart") == "no"), f"{name} waits for {other}"
            assert ends or "healthcheck" in before
        if "build" in service:
            context = (OPS / service["build"]["context"]).resolve()
            assert context == ROOT
            assert (context / service["build"]["dockerfile"]).is_file()
    used = {volume.partition(":")[0] for service in services().values() for volume in service.get("volumes", ())}
    assert used == set(whole["volumes"])
    assert {s for service in services().values() for s in service.get("secrets", ())} == set(whole["secrets"])


def test_each_lane_has_its_worker_with_a_name_that_stays() -> None:
    workers = [service for service in services().values() if service.get("command", [""])[0] == "work"]
    assert sorted(worker["command"][-1] for worker in workers) == sorted(LANES)
    assert len({worker["hostname"] for worker in workers}) == len(LANES)
    roles = {service["command"][0] for service in ours().values()}
    assert roles == {"migrate", "init", "serve", "project", "relay", "work"}


def test_secrets_are_files_that_git_and_the_image_leave_out() -> None:
    ignored = (OPS / "Containerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    for secret in compose()["secrets"].values():
        path = (OPS / secret["file"]).relative_to(OPS.parents[1])
        assert f"/{path.parent}/" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
        assert str(path.parent) in ignored
        assert not (ROOT / path).exists()
    for service in services().values():
        for variable, value in service["environment"].items():
            assert variable.endswith("_FILE") or not re.search("PASSWORD|TOKEN|SECRET|DATABASE_URL", variable)
            assert not re.search(r"://[^/]*@", value)


# They are sealed ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(services()))
def test_a_service_has_limits_and_gains_no_rights(name: str) -> None:
    service = services()[name]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"cpus", "memory", "pids"} == set(service["deploy"]["resources"]["limits"])
    assert service["logging"]["options"]["max-size"]
    image, _, tag = service["image"].partition(":")
    assert image
    assert tag not in ("", "latest")
    if name in ours():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["user"].partition(":")[0] not in ("", "0", "root")
        assert int(service["stop_grace_period"].removesuffix("s")) >= DRAIN_S + GRACE_S


def test_only_who_must_reach_out_can() -> None:
    networks = compose()["networks"]
    assert networks["inside"]["internal"] is True
    out = {name for name, service in services().items() if "outside" in service["networks"]}
    assert out == {"serve", "relay", *(name for name in services() if name.startswith("work-"))}
    published = [port for service in services().values() for port in service.get("ports", ())]
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_the_image_is_built_from_what_is_there_and_runs_as_nobody_in_particular() -> None:
    text = (OPS / "Containerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    stages = [i for i, line in enumerate(lines) if line.startswith("FROM ")]
    for i in stages:
        assert re.match(r"FROM [a-z]+:\d[\w.-]+( AS \w+)?$", lines[i]), lines[i]
    for line in lines:
        if line.startswith("COPY ") and "--from" not in line:
            for source in line.split()[1:-1]:
                assert (ROOT / source).exists(), line
    final = lines[stages[-1] :]
    assert "--require-hashes --requirement requirements.lock" in text
    (user,) = [line.split()[1] for line in final if line.startswith("USER ")]
    assert user == ours()["serve"]["user"]
    assert 'ENTRYPOINT ["fenghuo"]' in final
    kept = dict(pair.split("=", 1) for line in final if line.startswith("ENV ") for pair in line.split()[1:])
    for name in kept:
        if name.startswith(PREFIX):
            must_be_setting(name)


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_a_unit_runs_a_command_that_exists_and_is_sealed(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = unit(path)
    (start,) = found["Service.ExecStart"]
    program, *arguments = shlex.split(start)
    assert program == PROGRAM
    lanes = [lane.value for lane in LANES] if "%i" in arguments else [""]
    for lane in lanes:
        known([lane if argument == "%i" else argument for argument in arguments])

    variables = dict(value.split("=", 1) for value in found.get("Service.Environment", ()))
    credentials = {value.partition(":")[0] for value in found.get("Service.LoadCredential", ())}
    for value in variables.values():
        if value.startswith("%d/"):
            assert value.removeprefix("%d/") in credentials
    named = {
        name: value.replace("%H", "host").replace("%i", "extreme")
        for name, value in variables.items()
        if name != "FENGHUO_CONFIG"
    }
    if any(name.startswith("FENGHUO_KAFKA__") for name in named):
        named["FENGHUO_KAFKA__BOOTSTRAP"] = "kafka:9092"  # which stands in fenghuo.toml: docs/operations.md
    loads(named, tmp_path, monkeypatch)

    for key, value in {
        "User": "fenghuo",
        "NoNewPrivileges": "yes",
        "ProtectSystem": "strict",
        "ProtectHome": "yes",
        "PrivateTmp": "yes",
        "PrivateDevices": "yes",
        "CapabilityBoundingSet": "",
        "StateDirectory": "fenghuo",
        "UMask": "0077",
    }.items():
        assert found[f"Service.{key}"] == [value], key
    if found["Service.Type"] != ["oneshot"]:
        assert int(found["Service.TimeoutStopSec"][0]) >= DRAIN_S + GRACE_S
        assert found["Install.WantedBy"] == ["multi-user.target"]
    assert found["Service.Restart"] == ["on-failure"]
    after = " ".join(found["Unit.After"]).split()
    for other in " ".join(found["Unit.Wants"]).split():
        assert (OPS / "systemd" / other).is_file() or other == "network-online.target"
        assert other in after
    # What it needs may come up later than it, or fail at first; required, it would be given up with that for good.
    assert not {"Unit.Requires", "Unit.BindsTo", "Unit.Requisite"} & found.keys()
    scaled_out = any(value.startswith("database_url:") for value in found.get("Service.LoadCredential", ()))
    assert ("postgresql.service" in after) is scaled_out
    assert ("fenghuo-migrate.service" in after) is (scaled_out and path.name != "fenghuo-migrate.service")


def test_the_drop_in_with_secrets_names_real_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (drop_in,) = (OPS / "systemd" / "fenghuo.service.d").glob("*.conf")
    found = unit(drop_in)
    variables = dict(value.split("=", 1) for value in found["Service.Environment"])
    loaded = {value.partition(":")[0] for value in found["Service.LoadCredential"]}
    assert {value.removeprefix("%d/") for value in variables.values()} == loaded
    for name in variables:
        assert name.endswith("_FILE")
        must_be_setting(name.removesuffix("_FILE"))


def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    tool = shutil.which("systemd-analyze")
    if tool is None:
        if os.environ.get("CI"):
            pytest.fail("systemd-analyze is missing, and in CI nothing is skipped")
        pytest.skip("systemd-analyze is missing")
    here = str(Path(sys.executable).parent / "fenghuo")
    for path in UNITS:
        (tmp_path / path.name).write_text(path.read_text(encoding="utf-8").replace(PROGRAM, here), encoding="utf-8")
    named = [str(tmp_path / p.name.replace("@.", "@extreme.")) for p in UNITS]
    done = subprocess.run([tool, "verify", *named], capture_output=True, text=True, timeout=60, check=False)
    said = [line for line in done.stderr.splitlines() if str(tmp_path) in line or "fenghuo" in line]
    assert (done.returncode, said) == (0, []), done.stderr
