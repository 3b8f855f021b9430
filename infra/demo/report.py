"""What the demo says at its end, as a table for people."""

from __future__ import annotations

import msgspec


class Summary(msgspec.Struct, kw_only=True):
    """The figures of one run. Counts are people, but for `sent` (messages by channel) and `escalated` (stations)."""

    recipients: int = 0
    sent: dict[str, int] = msgspec.field(default_factory=dict)
    told: int = 0
    delivered: int = 0
    acknowledged: int = 0
    help: int = 0
    unreachable: int = 0
    stations: int = 0
    relayed: int = 0
    escalated: int = 0
    cancelled: int = 0
    cancelled_exactly: bool = False
    log_events: int = 0
    replayed_position: int = 0
    replayed_told: int = 0
    views_identical: bool = False
    log_verified: bool = False
    seconds: float = 0.0


ROWS: tuple[tuple[str, str, str], ...] = (
    ("recipients", "应通知的人", "people to be told"),
    ("sent", "各渠道发出", "messages sent by channel"),
    ("told", "已发到的人", "people told"),
    ("delivered", "回执确认送达", "people with a delivery receipt"),
    ("acknowledged", "已回应", "people who answered"),
    ("help", "需要帮助", "people who need help"),
    ("unreachable", "没有任何可用渠道", "people without any channel"),
    ("stations", "经过的机构和服务站", "nodes the warning went through"),
    ("relayed", "已转发", "nodes that relayed"),
    ("escalated", "沉默而被催办", "nodes chased for silence"),
    ("cancelled", "收到解除通知的人", "people told of the cancellation"),
    ("cancelled_exactly", "解除恰好发给收到者", "cancelled to exactly those reached"),
    ("log_events", "日志事件数", "events in the log"),
    ("replayed_told", "回放到中途时已发到的人", "people told at the moment replayed to"),
    ("views_identical", "视图重建后逐字节相同", "views rebuilt byte for byte"),
    ("log_verified", "日志校验通过", "log verified"),
    ("seconds", "用时（秒）", "seconds"),
)


def table(summary: Summary) -> str:
    """Chinese first, English second, the figure last."""
    lines = []
    for name, zh, en in ROWS:
        value = getattr(summary, name)
        if isinstance(value, dict):
            shown = "  ".join(f"{channel} {n}" for channel, n in sorted(value.items()))
        elif isinstance(value, bool):
            shown = "是 yes" if value else "否 NO"
        else:
            shown = str(value)
        lines.append(f"{_wide(zh, 26)}{en:<42}{shown}")
    return "\n".join(lines)


def _wide(text: str, columns: int) -> str:
    """Pads to a width on a terminal, where a Chinese character takes two columns."""
    width = sum(2 if ord(c) > 0x2E7F else 1 for c in text)
    return text + " " * max(1, columns - width)
