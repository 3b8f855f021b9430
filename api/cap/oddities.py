"""Warnings about an alert that is well-formed CAP but says something doubtful (codes: api/cap/rules.py)."""

from collections.abc import Iterator
from datetime import datetime
from typing import TypeVar

from api.cap.model import Alert, Area, Info
from api.cap.notes import Notes

FIRST_YEAR = 1990
LAST_YEAR = 2199
_BUDDHIST_ERA = 543  # years ahead of the common era; Thai senders have sent them

T = TypeVar("T")


def look_at_alert(alert: Alert, path: str, notes: Notes) -> None:
    """Adds a warning for each oddity of `alert` to `notes`. `path` is the alert's own path."""
    _year(alert.sent, f"{path}/sent", notes)
    if alert.scope == "Restricted" and not alert.restriction:
        notes.warn("cap.scope", path, f"{path} has scope Restricted, but no restriction says to whom.")
    if alert.scope == "Private" and not alert.addresses:
        notes.warn("cap.scope", path, f"{path} has scope Private, but no addresses say to whom.")
    if alert.msg_type != "Alert" and not alert.references:
        what = f"{path} is of type {alert.msg_type}, but its references name no earlier message."
        notes.warn("cap.references_missing", path, what)
    if any((one.sender, one.identifier) == (alert.sender, alert.identifier) for one in alert.references):
        what = f"{path}/references names the message itself, but earlier messages are expected."
        notes.warn("cap.references_self", f"{path}/references", what)
    if not alert.info:
        notes.warn("cap.info_missing", path, f"{path} has no info; it says nothing but its type and references.")
    for here, info in _numbered(path, "info", alert.info):
        _info(alert, info, here, notes)


def _numbered(path: str, name: str, items: tuple[T, ...]) -> Iterator[tuple[str, T]]:
    for number, item in enumerate(items, 1):
        yield f"{path}/{name}" + (f"[{number}]" if len(items) > 1 else ""), item


def _info(alert: Alert, info: Info, path: str, notes: Notes) -> None:
    if info.language is None:
        what = f"{path} has no language; the standard then means en-US, which is often untrue."
        notes.warn("cap.language_missing", path, what)
    for name, moment in (("effective", info.effective), ("onset", info.onset), ("expires", info.expires)):
        if moment is not None:
            _year(moment, f"{path}/{name}", notes)
    if info.expires is None:
        notes.warn("cap.expires_missing", path, f"{path} has no expires; when the warning ends must be decided here.")
    elif info.expires <= max(alert.sent, info.effective or alert.sent):
        what = f"{path}/expires is not after sent and effective, so the warning is never in force."
        notes.warn("cap.expires_early", f"{path}/expires", what)
    if not info.area:
        notes.warn("cap.area_missing", path, f"{path} has no area; where it applies must be decided here.")
    _shapes(info.area, path, notes)
    for here, area in _numbered(path, "area", info.area):
        _area(area, here, notes)


def _shapes(areas: tuple[Area, ...], path: str, notes: Notes) -> None:
    # One warning an info: national services send infos with a thousand areas known by geocode only.
    bare = [area for area in areas if not area.polygon and not area.circle]
    if bare:
        worded = sum(not area.geocode for area in bare)
        what = f"{path} has {len(bare)} of {len(areas)} area(s) without usable polygon or circle"
        notes.warn("cap.shape_missing", f"{path}/area", f"{what}, {worded} of them without geocode too.")


def _area(area: Area, path: str, notes: Notes) -> None:
    if area.ceiling is not None and (area.altitude is None or area.ceiling < area.altitude):
        what = f"{path}/ceiling is only meaningful above an altitude, but there is none below it."
        notes.warn("cap.ceiling", f"{path}/ceiling", what)


def _year(moment: datetime, path: str, notes: Notes) -> None:
    if FIRST_YEAR <= moment.year <= LAST_YEAR:
        return
    buddhist = FIRST_YEAR <= moment.year - _BUDDHIST_ERA <= LAST_YEAR
    guess = f"; in the Buddhist era it would be {moment.year - _BUDDHIST_ERA}" if buddhist else ""
    notes.warn("cap.year", path, f"{path} is in the year {moment.year}, which cannot be meant{guess}; it was kept.")
