"""A warning's tree as lines: the hierarchy joined with what each node did, counts rolled up."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from projections.follower import Views
from projections.tree import rolled_up, silent_s, state_of
from projections.tree_fold import COUNTS

STEP = ("action", "after_s", "at", "told")


def tree_nodes(views: Views, db: Connection, warning_id: str) -> list[dict[str, Any]]:
    """All concerned nodes, parents before children; empty where the warning was never released."""
    hierarchy = views.directory.hierarchy(db)
    rows = views.tree.rows(db, warning_id)
    sums = rolled_up(rows, hierarchy)
    tops = [n.node_id for n in hierarchy.nodes.values() if n.parent is None]
    lines: list[dict[str, Any]] = []
    for node_id in (n for top in tops for n in hierarchy.subtree(top)):
        row = rows.get(node_id)
        if row is None:
            continue
        node, total = hierarchy.nodes[node_id], sums[node_id]
        lines.append(
            {
                "node_id": node_id,
                "parent": node.parent if node.parent in rows else None,
                "depth": sum(1 for above in hierarchy.ancestors(node_id) if above in rows) - 1,
                "kind": node.kind.value,
                "name_zh": node.name_zh,
                "name_en": node.name_en,
                "country": node.country,
                "lat": node.lat,
                "lon": node.lon,
                "state": state_of(row),
                "late": row["late"],
                "escalations": [step["action"] for step in row["escalations"]],
                "steps": [{name: step[name] for name in STEP} for step in row["escalations"]],
                "silent_s": silent_s(row),
                "quota": row["quota"],
                "signed": row["signed"],
                "acknowledged_at": row["acknowledged_at"],
                "relayed_at": row["relayed_at"],
                **{name: total[name] for name in COUNTS},
                "recipients": total["recipients"] + total["unreachable"],
                "unreached": total["recipients"] - total["told"] - total["held"] + total["unreachable"],
                "own_recipients": row["recipients"] + row["unreachable"],
                "position": total["position"],
            }
        )
    return lines
