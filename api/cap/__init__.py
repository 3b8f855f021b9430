"""CAP 1.2 in and out: `read` bytes into alerts and findings, `write` an alert as XML."""

from api.cap.model import Alert, Area, Finding, Info, Pair, Reference, Report, Resource
from api.cap.read import read
from api.cap.write import CapWriteError, write

__all__ = [
    "Alert",
    "Area",
    "CapWriteError",
    "Finding",
    "Info",
    "Pair",
    "Reference",
    "Report",
    "Resource",
    "read",
    "write",
]
