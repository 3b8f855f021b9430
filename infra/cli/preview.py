"""A preview as a page of text for a terminal: Chinese first, English second, the figures after them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from api.preview_shapes import Phase, Preview

WHEN = {"at_once": "签发即通知 at once", "on_relay": "站点转发后通知 when stations relay"}
MARKS = {"=": "{}", "-": "[-{}-]", "+": "{{+{}+}}"}


def preview_text(p: Preview) -> str:
    """Everything that the JSON says, but for the ids of people."""
    return "\n".join(_lines(p))


def _lines(p: Preview) -> Iterable[str]:
    kind = "演习 DRILL  " if p.drill else ""
    kind += "更正 CORRECTION  " if p.correction else ""
    yield f"{kind}{p.warning_id}  {p.level}  {p.lane}  @{p.as_of}"
    for phase in p.phases:
        yield from _phase(phase)
    if p.difference is not None:
        d = p.difference
        yield ""
        yield f"与上次发布相比 since the last issue ({d.updates})"
        yield f"  新增 newly {d.newly.count}  仍在 stays {d.stays.count}  不再涉及 no longer {d.no_longer.count}"
        if d.left_silent:
            left = f"{len(d.left_silent)}: {', '.join(d.left_silent)}"
            yield f"  更正后不再催办、也不再转发 a correction ends the part of {left}"
        for language, fields in d.texts.items():
            for field, pieces in fields.items():
                yield f"  {language} {field}: {''.join(MARKS[what].format(said) for what, said in pieces)}"
    yield ""
    for m in p.text_messages:
        yield (
            f"短信 SMS {m.language} ({m.circle}): {m.messages} x {m.segments} 段 segments, {m.encoding}, "
            f"{m.characters} 字 characters"
        )
    c = p.cost
    free = "（演习沙盒，不产生费用 sandboxed, nothing is charged）" if p.sandboxed else ""
    yield f"费用 cost: {c.total} {c.currency}, 价格未知 unknown price: {c.unknown} {free}".rstrip()
    for charge in c.charges:
        amount = "?" if charge.amount is None else f"{charge.amount} {c.currency}"
        yield f"  {charge.channel} {charge.prefix or '?'}: {charge.messages}, {charge.segments} 段 segments, {amount}"
    for sample in p.samples:
        yield ""
        yield f"--- {sample.channel} {sample.language} ({sample.circle})"
        if sample.subject:
            yield sample.subject
        yield sample.text


def _phase(phase: Phase) -> Iterable[str]:
    yield ""
    yield (
        f"{WHEN[phase.when]}: {phase.people} 人 people, {phase.messages} 条 messages, "
        f"{phase.without_channel} 人无渠道 without any channel"
    )
    for name, counts in (
        ("渠道 channel", phase.by_channel),
        ("语言 language", phase.by_language),
        ("国家 country", phase.by_country),
    ):
        if counts:
            yield f"  {name}: {_counts(counts)}"
    for node in phase.by_node:
        lack = f", 无渠道 none {node.without_channel}" if node.without_channel else ""
        name = f"{node.node_id} {node.name_zh} {node.country}"
        yield f"  {name}: 工作人员 staff {node.staff}, 群众 people {node.people}{lack}"


def _counts(counts: Mapping[str, int]) -> str:
    return "  ".join(f"{name} {n}" for name, n in counts.items())
