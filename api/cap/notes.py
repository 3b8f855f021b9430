"""Collects findings while a message is read: bounded in number, and safe to print."""

from api.cap.grammar import MAX_FINDINGS
from api.cap.model import Finding

_EXCERPT = 60


def quote(text: str) -> str:
    """`text` in quotation marks, shortened, on one line, with nothing a terminal would obey."""
    flat = " ".join(text[: 4 * _EXCERPT].split())
    shown = flat if len(flat) <= _EXCERPT else flat[: _EXCERPT - 1] + "…"
    return '"' + "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown) + '"'


class Refused(Exception):
    """Reading cannot go on; `finding` says why. Never leaves this package."""

    def __init__(self, code: str, message: str, element: str = "") -> None:
        super().__init__(message)
        self.finding = Finding(code, "error", element, message)


class Notes:
    """Findings in the order they were made. A hostile file cannot grow the lists without bound."""

    def __init__(self) -> None:
        self.errors: list[Finding] = []
        self.warnings: list[Finding] = []

    def error(self, code: str, element: str, message: str) -> None:
        """Something that refuses the alert. Raises Refused when there are too many to be worth listing."""
        if len(self.errors) >= MAX_FINDINGS:
            raise Refused("cap.limit", f"The file has more than {MAX_FINDINGS} errors; reading stopped there.")
        self.errors.append(Finding(code, "error", element, message))

    def warn(self, code: str, element: str, message: str) -> None:
        """Something odd that was accepted. Beyond the limit one last warning says that others are not listed."""
        if len(self.warnings) < MAX_FINDINGS:
            self.warnings.append(Finding(code, "warning", element, message))
        elif len(self.warnings) == MAX_FINDINGS:
            more = f"The file has more than {MAX_FINDINGS} warnings; the others are not listed."
            self.warnings.append(Finding("cap.more", "warning", "", more))
