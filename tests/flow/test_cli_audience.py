"""Stays, tags and audiences from the command line of the machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from setting import History
from terminal import fenghuo, refused

STAY = {"country": "JP", "zone": "Asia/Tokyo", "from": "2026-07-01", "to": "2099-07-09", "place": "大阪"}
IN_JAPAN = {"is": "country", "country": "JP"}


def test_stays_and_tags_from_the_command_line(history: History, tmp_path: Path) -> None:
    def ran(*arguments: str | Path) -> Any:
        done = fenghuo(*arguments, "--json", folder=history.folder)
        assert done.status == 0, done.err
        return done.json

    as_admin = ("--as", "admin")
    when = ("--from", "2026-07-01", "--to", "2099-07-09")
    added = ran(
        "people", "stay", "add", "rome-it", "--country", "JP", "--zone", "Asia/Tokyo", *when, "--lat", "34.7",
        "--lon", "135.5", *as_admin,
    )  # fmt: skip
    file = tmp_path / "stays.json"
    line = {**STAY, "person_id": "rome-zh", "stay_id": "s1"}
    file.write_text(json.dumps([line, {**line, "person_id": "milan-zh", "lat": 34.7, "lon": 135.5}]))
    for _ in range(2):
        assert ran("people", "stay", "import", file, *as_admin) == {"stays": 2}
    ran("people", "tag", "rome-it", "--tag", "port", "--tag", "b", "--enterprise", "e-1", *as_admin)
    asked = tmp_path / "audience.json"

    def people(audience: Any, *more: str) -> dict[str, int]:
        asked.write_text(json.dumps(audience))
        found: dict[str, int] = ran("audience", asked, "--as", "officer1", *more)["by_node"]
        return found

    assert people(IN_JAPAN) == {"milan": 1, "rome": 2}
    assert people(IN_JAPAN, "--node", "rome") == {"rome": 2}
    assert people({"is": "circle", "lat": 34.7, "lon": 135.5, "km": 5}) == {"milan": 1, "rome": 1}
    assert people({"is": "and", "of": [{"is": "tag", "tag": "port"}, {"is": "enterprise", "enterprise": "e-1"}]}) == {
        "rome": 1
    }
    ran("people", "stay", "withdraw", "rome-it", added["stay"], *as_admin)
    assert people(IN_JAPAN) == {"milan": 1, "rome": 1}
    said = fenghuo("audience", asked, "--as", "officer1", folder=history.folder)
    assert (said.status, said.out.splitlines()[0].startswith("2 people at 2 nodes")) == (0, True)
    refused(fenghuo("audience", asked, "--as", "county1", folder=history.folder), 1, "permission.denied")
    asked.write_text('{"is": "country", "country": "Japan"}')
    refused(fenghuo("audience", asked, "--as", "officer1", folder=history.folder), 2, "audience.country")
    file.write_text(json.dumps([{**line, "zone": "Mars"}]))
    refused(fenghuo("people", "stay", "import", file, *as_admin, folder=history.folder), 2, "stay.zone")
