"""CAP 1.2 on the command line: what we export we would take ourselves, what others sent is drafted or refused."""

from __future__ import annotations

import csv
import os
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from setting import History
from terminal import Ran, fenghuo, refused

from api.cap import read
from infra.demo.warning import warning_cap

SHARED = Path(os.environ.get("FENGHUO_SHARED") or Path(__file__).parents[2].parent / "shared")
CORPUS = SHARED / "data" / "cap-corpus"
TYPES = {"draft": "Alert", "released": "Update", "updated": "Alert", "cancelled": "Cancel"}


@pytest.mark.parametrize("status", TYPES)
def test_what_is_exported_is_accepted_by_our_own_check(history: History, tmp_path: Path, status: str) -> None:
    file = tmp_path / "out.xml"
    warning_id = history.warnings[status]
    ran = fenghuo("warning", "export", warning_id, "-o", file, folder=history.folder)
    assert (ran.status, ran.out, ran.err) == (0, "", "")
    checked = fenghuo("cap", "check", "--json", file)
    (entry,) = checked.json
    assert (checked.status, entry["ok"], entry["errors"], entry["warnings"]) == (0, True, [], [])
    (alert,) = read(file.read_bytes()).alerts
    assert alert.msg_type == TYPES[status]
    assert alert.status == ("Draft" if status == "draft" else "Actual")
    assert [reference.identifier for reference in alert.references] == {
        "released": [history.warnings["updated"]],
        "cancelled": [warning_id],
    }.get(status, [])
    assert [info.language for info in alert.info] == ["zh-CN", "it", "es", "en"]
    printed = fenghuo("warning", "export", warning_id, folder=history.folder)
    assert printed.out.encode() == file.read_bytes()


def test_a_message_that_was_exported_is_drafted_from_again(history: History, tmp_path: Path) -> None:
    file = tmp_path / "out.xml"
    assert fenghuo("warning", "export", history.warnings["updated"], "-o", file, folder=history.folder).status == 0
    ran = fenghuo("warning", "import", file, "--as", "officer1", "--json", folder=history.folder)
    assert (ran.status, ran.err) == (0, "")
    drafted = fenghuo("warning", "show", ran.json["id"], "--json", folder=history.folder).json
    before = fenghuo("warning", "show", history.warnings["updated"], "--json", folder=history.folder).json
    for name in ("event", "level", "texts"):
        assert drafted["content"][name] == before["content"][name]
    for name in ("effective_at", "expires_at"):
        again, first = (datetime.fromisoformat(w["content"][name]) for w in (drafted, before))
        assert again == first
    assert drafted["content"]["contact"]["hotline"] == before["content"]["contact"]["hotline"]
    assert (drafted["status"], drafted["content"]["source"]["kind"]) == ("draft", "cap")


def test_the_same_message_twice_is_one_draft_and_needs_a_grant(history: History, tmp_path: Path) -> None:
    file = tmp_path / "warning.xml"
    file.write_bytes(warning_cap())
    refused(fenghuo("warning", "import", file, "--as", "county1", folder=history.folder), 1, "permission.denied")
    refused(fenghuo("warning", "import", file, folder=history.folder), 1, "cli.nobody")
    ids = {
        fenghuo("warning", "import", file, "--as", "officer1", "--json", folder=history.folder).json["id"]
        for _ in range(2)
    }
    assert len(ids) == 1
    assert len(fenghuo("warning", "list", "--json", folder=history.folder).json) == 5


def test_a_draft_goes_all_the_way_on_the_command_line(history: History, tmp_path: Path) -> None:
    file = tmp_path / "warning.xml"
    file.write_bytes(warning_cap(datetime.now(UTC)))

    def run(*arguments: str | Path) -> Ran:
        return fenghuo(*arguments, folder=history.folder)

    warning_id = run("warning", "import", file, "--as", "officer1", "--json").json["id"]
    refused(run("warning", "release", warning_id, "--as", "officer1"), 1, "warning.second_person")
    refused(run("warning", "release", warning_id, "--as", "officer1", "--break-glass"), 1, "warning.reason_missing")
    released = run("warning", "release", warning_id, "--as", "officer2", "--json")
    assert (released.status, released.json) == (0, {"id": warning_id, "done": "released"})
    refused(run("warning", "cancel", warning_id, "--reason", " ", "--as", "officer1"), 1, "warning.reason_missing")
    cancelled = run("warning", "cancel", warning_id, "--reason", "over", "--as", "officer1")
    assert (cancelled.status, cancelled.out) == (0, f"{warning_id} cancelled\n")
    refused(run("warning", "release", warning_id, "--as", "officer2"), 1, "warning.cancelled")
    assert run("warning", "show", warning_id, "--json").json["status"] == "cancelled"


LARGE = 200_000  # bytes; one of those that are larger is enough


def accepted() -> list[str]:
    """The corpus' files that hold one alert of an actual event."""
    with (CORPUS / "MANIFEST.csv").open(encoding="utf-8", newline="") as file:
        names = [row["file"] for row in csv.DictReader(file)]
    small = [name for name in names if (CORPUS / name).stat().st_size <= LARGE]
    found = []
    for name in [*small, *[name for name in names if name not in small][:1]]:
        report = read((CORPUS / name).read_bytes())
        if report.ok and len(report.alerts) == 1:
            (alert,) = report.alerts
            if alert.status == "Actual" and alert.msg_type in ("Alert", "Update"):
                found.append(name)
    return found


@pytest.mark.skipif(not (CORPUS / "MANIFEST.csv").is_file(), reason=f"no CAP corpus at {CORPUS}; set FENGHUO_SHARED")
def test_what_others_sent_is_drafted_or_refused_with_a_code(history: History, tmp_path: Path) -> None:
    names = accepted()
    drafted: list[str] = []
    for name in names:
        ran = fenghuo("warning", "import", CORPUS / name, "--as", "officer1", "--json", folder=history.folder)
        if ran.status == 0:
            drafted.append(ran.json["id"])
            continue
        # Other bytes under an id that is taken; an area of too many points; nothing said.
        said = re.fullmatch(r"fenghuo: .+ \[(warning\.exists|warning\.area|cap\.info_missing)\]\n", ran.err)
        assert (ran.out, bool(said)) == ("", True), (name, ran)
    assert (len(names) > 70, len(set(drafted)) > 45) == (True, True)
    for warning_id in drafted[::5]:
        out = tmp_path / "out.xml"
        assert fenghuo("warning", "export", warning_id, "-o", out, folder=history.folder).status == 0
        assert read(out.read_bytes()).ok


def test_what_is_no_warning_of_a_real_event_is_refused_with_its_code(history: History, tmp_path: Path) -> None:
    text = warning_cap().decode()
    for changed, code in [
        (text.replace("Actual", "Test"), "cap.not_actual"),
        (text.replace("<msgType>Alert<", "<msgType>Ack<"), "cap.not_alert"),
        (text.replace("</alert>", ""), "cap.xml"),
        ("<html/>", "cap.no_alert"),
        ("", "cap.xml"),
    ]:
        file = tmp_path / "other.xml"
        file.write_text(changed, encoding="utf-8")
        refused(fenghuo("warning", "import", file, "--as", "officer1", folder=history.folder), 2, code)
