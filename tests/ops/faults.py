"""The closed list of faults that the program is held to, and the table of docs/faults.md as it is written."""

from __future__ import annotations

import ast
import re

from tests.ops import locks

PAGE = locks.ROOT / "docs" / "faults.md"
FAULTS = (
    "429 with Retry-After", "429 without Retry-After", "5xx", "4xx per code", "slow-loris", "half-open connection",
    "TLS failure", "DNS failure", "reset mid-message", "accept then drop before the reply",
    "goodbye in the middle of a batch", "provider away", "duplicate callback",
    "reordered callback", "forged callback", "late callback", "callback before the send's own answer",
    "sent but never delivered", "clock set back by an hour", "clock set ahead by an hour", "disk full",
    "poison recipient", "1 MB text", "control characters", "right-to-left characters", "header injection in names",
    "SMS to a premium prefix", "SMS to a blocked prefix", "SMS over the spend limit", "SSRF in a webhook's URL",
    "SSRF in a push endpoint",
)  # fmt: skip
PARTS = (
    "a role is killed", "PostgreSQL is killed and started again", "a broker of three is killed",
    "all brokers are down for a minute", "a worker and the brokers lose each other",
    "a worker and the database lose each other", "the relay and the brokers lose each other",
    "rebalance in mid-fan-out", "a worker that wakes after its lease", "two relays at once",
    "a consumer with an old offset", "delivery out of order", "two workers of one name",
)  # fmt: skip
"""What may befall the processes of an installation, and what is between them."""


def table() -> dict[str, tuple[str, str, list[tuple[str, str]]]]:
    """Of each fault: what happens, what the log says, and the tests as (file, name)."""
    found = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("| ") and not line.startswith("| Fault |"):
            fault, happens, said, tests = (cell.strip() for cell in line.strip("|").split("|"))
            found[fault] = happens, said, re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", tests)
    return found


def tests_in(file: str) -> set[str]:
    """The names of the tests in a file."""
    tree = ast.parse((locks.ROOT / file).read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in tree.body if isinstance(node, kinds) and node.name.startswith("test_")}


def fault_tests() -> set[tuple[str, str]]:
    """Every test in the files that are about faults alone."""
    tests = locks.ROOT / "tests"
    found = [*tests.glob("flow/test_faults_*.py"), tests / "flow" / "test_callback_faults.py"]
    files = [str(file.relative_to(locks.ROOT)) for file in [*found, *tests.glob("scale/test_*.py")]]
    return {(file, name) for file in files for name in tests_in(file)}
