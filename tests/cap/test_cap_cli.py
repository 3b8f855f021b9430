"""`fenghuo cap check`: verdicts, JSON, exit codes."""

import json
import subprocess
import sys
from pathlib import Path

from cap_messages import BODY, message
from typer.testing import CliRunner

from infra.cli.cap import app

RUN = CliRunner()


def files(folder: Path) -> tuple[str, str, str]:
    good, bad = folder / "good.xml", folder / "bad.xml"
    good.write_bytes(message())
    bad.write_bytes(message(("Severe<", "Bad<")))
    return str(good), str(bad), str(folder / "absent.xml")


def test_json_is_one_array_with_an_entry_a_file(tmp_path: Path) -> None:
    good, bad, absent = files(tmp_path)
    result = RUN.invoke(app, ["check", good, bad, absent, str(tmp_path), "--json"])
    assert result.exit_code == 1
    first, second, third, fourth = json.loads(result.stdout)
    assert first == {
        "file": good,
        "ok": True,
        "alerts": [
            {
                "identifier": "FH-2026-0001",
                "sender": "duty@consulate.example",
                "sent": "2026-03-01T08:00:00+08:00",
                "msgType": "Alert",
                "infos": 1,
            }
        ],
        "errors": [],
        "warnings": [],
    }
    assert (second["file"], second["ok"], second["alerts"]) == (bad, False, [])
    assert [error["code"] for error in second["errors"]] == ["cap.value"]
    assert "alert/info/severity" in second["errors"][0]["message"]
    for entry in (third, fourth):
        assert not entry["ok"]
        assert [error["code"] for error in entry["errors"]] == ["cap.unreadable"]


def test_exit_codes(tmp_path: Path) -> None:
    good, bad, absent = files(tmp_path)
    assert RUN.invoke(app, ["check", good]).exit_code == 0
    assert RUN.invoke(app, ["check", bad]).exit_code == 1
    assert RUN.invoke(app, ["check", absent]).exit_code == 1
    assert RUN.invoke(app, ["check"]).exit_code == 2
    assert RUN.invoke(app, ["check", "--nonsense", good]).exit_code == 2


def test_lines_for_people(tmp_path: Path) -> None:
    good, bad, absent = files(tmp_path)
    result = RUN.invoke(app, ["check", good, bad, absent])
    lines = result.stdout.splitlines()
    assert lines[0] == f"ok      {good}"
    assert '"FH-2026-0001"' in lines[1]
    assert lines[2] == f"REFUSED {bad}"
    assert "cap.value: alert/info/severity" in lines[3]
    assert "cap.unreadable" in lines[5]


def test_a_narrow_terminal_encoding_and_odd_names_do_no_harm(tmp_path: Path) -> None:
    name = tmp_path / "预警\udcff.xml"
    name.write_text(BODY.replace("FH-2026-0001", "烽火"), encoding="utf-8")
    for options in ([], ["--json"]):
        result = subprocess.run(
            [sys.executable, "-c", "from infra.cli.cap import app; app()", "check", str(name), *options],
            capture_output=True,
            cwd=Path(__file__).parents[2],
            env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C.UTF-8"},
            check=False,
            timeout=60,
        )
        assert (result.returncode, result.stderr) == (0, b"")
    assert json.loads(result.stdout)[0]["alerts"][0]["identifier"] == "烽火"
