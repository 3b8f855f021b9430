"""Draws how costs grew with the log as an SVG, by hand: three panels, logarithmic both ways."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path

Found = Sequence[tuple[int, dict[str, float]]]
"""Lengths of the log, and what cost how many milliseconds at each."""

WIDTH, HEIGHT, LEFT, TOP, GAP = 1080, 400, 56, 64, 44
PANEL = (WIDTH - LEFT - 2 * GAP - 8) // 3
TALL = HEIGHT - TOP - 108
COLOURS = ("#c0392b", "#2471a3", "#1e8449", "#b9770e", "#7d3c98")
QUIET = "#b8bec4"


def write(path: Path, found: Found, caption: str) -> None:
    names = list(found[0][1])
    panels = (
        ("Commands", [n for n in names if n.startswith("command.")]),
        ("Views", [n for n in names if "." in n and not n.startswith(("command.", "log."))]),
        ("The program", [n for n in names if "." not in n or n.startswith("log.")]),
    )
    least = min(cost / found[0][1][name] for _, costs in found for name, cost in costs.items())
    most = max(cost / found[0][1][name] for _, costs in found for name, cost in costs.items())
    low, high = math.log10(min(0.5, least)), math.log10(max(3.0, most * 1.1))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="11">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="22" font-size="15" fill="#222">Cost by the length of the log, {escape(caption)}</text>',
        f'<text x="{LEFT}" y="40" fill="#555">times the cost at {found[0][0]:,} events; the five that grew most are'
        " named, the others grey</text>",
    ]
    for n, (title, of) in enumerate(panels):
        parts += _panel(LEFT + n * (PANEL + GAP), title, of, found, low, high)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*parts, "</svg>", ""]), encoding="utf-8")


def _panel(left: int, title: str, names: list[str], found: Found, low: float, high: float) -> list[str]:
    first, last = math.log10(found[0][0]), math.log10(found[-1][0])

    def x(length: int) -> float:
        return left + (math.log10(length) - first) / ((last - first) or 1) * PANEL

    def y(ratio: float) -> float:
        return TOP + TALL - (math.log10(ratio) - low) / (high - low) * TALL

    parts = [
        f'<rect x="{left}" y="{TOP}" width="{PANEL}" height="{TALL}" fill="none" stroke="#888"/>',
        f'<text x="{left}" y="{TOP - 6}" fill="#222">{title}</text>',
    ]
    for ratio in (0.1, 0.3, 0.5, 1.0, 2.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0):
        if low <= math.log10(ratio) <= high:
            dash = "" if ratio == 1 else ' stroke-dasharray="2 4"'
            parts.append(
                f'<line x1="{left}" y1="{y(ratio):.1f}" x2="{left + PANEL}" y2="{y(ratio):.1f}" stroke="#ccc"{dash}/>'
                f'<text x="{left - 4}" y="{y(ratio) + 4:.1f}" text-anchor="end" fill="#555">{ratio:g}</text>'
            )
    for length, _ in found:
        parts.append(
            f'<text x="{x(length):.1f}" y="{TOP + TALL + 14}" text-anchor="middle" fill="#555">{_short(length)}</text>'
        )
    grew = sorted(names, key=lambda name: found[-1][1][name] / found[0][1][name])
    named = grew[-len(COLOURS) :]
    for name in grew:
        colour = COLOURS[named.index(name)] if name in named else QUIET
        points = " ".join(f"{x(length):.1f},{y(costs[name] / found[0][1][name]):.1f}" for length, costs in found)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
    for n, name in enumerate(reversed(named)):
        colour = COLOURS[named.index(name)]
        said = f"{name.removeprefix('command.')} {found[0][1][name]:.2g} → {found[-1][1][name]:.2g} ms"
        parts.append(f'<text x="{left}" y="{TOP + TALL + 32 + n * 14}" fill="{colour}">{escape(said)}</text>')
    return parts


def _short(length: int) -> str:
    for size, unit in ((1_000_000, "M"), (1_000, "k")):
        if length >= size:
            return f"{length / size:.3g}{unit}"
    return str(length)
