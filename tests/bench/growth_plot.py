"""Draws how costs grew with the log as an SVG, by hand: three panels, logarithmic both ways."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path

import msgspec


class Length(msgspec.Struct, frozen=True):
    """A length of the log, what the bare work took there, and what else took how many milliseconds."""

    events: int
    bare_ms: float
    costs: dict[str, float]

    def beside(self, first: Length, name: str) -> float:
        """How much dearer it is than at the first length, beyond what the bare work is."""
        return (self.costs[name] / self.bare_ms) / (first.costs[name] / first.bare_ms)


Found = Sequence[Length]

WIDTH, HEIGHT, LEFT, TOP, GAP = 1080, 400, 56, 64, 44
PANEL = (WIDTH - LEFT - 2 * GAP - 8) // 3
TALL = HEIGHT - TOP - 108
COLOURS = ("#c0392b", "#2471a3", "#1e8449", "#b9770e", "#7d3c98")
QUIET = "#b8bec4"


def write(path: Path, found: Found, caption: str) -> None:
    names = list(found[0].costs)
    panels = (
        ("Commands", [n for n in names if n.startswith("command.")]),
        ("Views", [n for n in names if "." in n and not n.startswith(("command.", "log."))]),
        ("The program", [n for n in names if "." not in n or n.startswith("log.")]),
    )
    ratios = [length.beside(found[0], name) for length in found for name in names]
    least, most = min(ratios), max(ratios)
    low, high = math.log10(min(0.5, least)), math.log10(max(3.0, most * 1.1))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif"'
        ' font-size="11">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="22" font-size="15" fill="#222">Cost by the length of the log, {escape(caption)}</text>',
        f'<text x="{LEFT}" y="40" fill="#555">times the cost at {found[0].events:,} events, without what the machine'
        " slowed down; the five that grew most are named, the others grey</text>",
    ]
    for n, (title, of) in enumerate(panels):
        parts += _panel(LEFT + n * (PANEL + GAP), title, of, found, low, high)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*parts, "</svg>", ""]), encoding="utf-8")


def _panel(left: int, title: str, names: list[str], found: Found, low: float, high: float) -> list[str]:
    first, last = math.log10(found[0].events), math.log10(found[-1].events)

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
    parts += [
        f'<text x="{x(at):.1f}" y="{TOP + TALL + 14}" text-anchor="middle" fill="#555">{_short(at)}</text>'
        for at in (each.events for each in found)
    ]
    grew = sorted(names, key=lambda name: found[-1].beside(found[0], name))
    named = grew[-len(COLOURS) :]
    for name in grew:
        colour = COLOURS[named.index(name)] if name in named else QUIET
        points = " ".join(f"{x(each.events):.1f},{y(each.beside(found[0], name)):.1f}" for each in found)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
    for n, name in enumerate(reversed(named)):
        colour = COLOURS[named.index(name)]
        said = f"{name.removeprefix('command.')} {found[0].costs[name]:.3g} → {found[-1].costs[name]:.3g} ms"
        parts.append(f'<text x="{left}" y="{TOP + TALL + 32 + n * 14}" fill="{colour}">{escape(said)}</text>')
    return parts


def _short(length: int) -> str:
    for size, unit in ((1_000_000, "M"), (1_000, "k")):
        if length >= size:
            return f"{length / size:.3g}{unit}"
    return str(length)
