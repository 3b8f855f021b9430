"""The demo warning: data/warning.cap.xml, moved to the hour at which the demo is run so that it is never expired."""

import re
from datetime import datetime

from infra.demo.hierarchy import DATA

_TIME = re.compile(rb"(?<=>)\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d(?=<)")
_SENT = re.compile(rb"<sent>([^<]+)</sent>")


def warning_cap(sent: datetime | None = None) -> bytes:
    """The warning in CAP 1.2, as it stands in the file or as if sent at `sent`, with all its times moved alike.

    Every time keeps the zone of `sent`, in whole seconds. Sender and identifier stay: CAP tells two messages apart by
    the time as well (CAP 1.2, 3.2.1). Raises `ValueError` for a time without a zone.
    """
    raw = (DATA / "warning.cap.xml").read_bytes()
    if sent is None:
        return raw
    if sent.utcoffset() is None:
        raise ValueError("CAP times have a zone")
    found = _SENT.search(raw)
    assert found is not None
    shift = sent.replace(microsecond=0) - datetime.fromisoformat(found[1].decode())

    def moved(match: re.Match[bytes]) -> bytes:
        time = (datetime.fromisoformat(match[0].decode()) + shift).astimezone(sent.tzinfo)
        # CAP writes UTC as -00:00 (3.3.2).
        return re.sub(r"\+00:00$", "-00:00", time.isoformat()).encode()

    return _TIME.sub(moved, raw)
