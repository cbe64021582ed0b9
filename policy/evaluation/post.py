"""What the built-in task adds to the report: on which side of its post the cube passes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import rc_context

from .charts import STYLE, Estimate, Point, draw_shares
from .comparison import Result
from .report import Cell, Panel, Row, read_rows
from .statistics import wilson

TEXT = (
    "Two ways lead past the post. A policy that has learnt both uses both; one that mixes them"
    " touches the post. Left is counted among the episodes that pass it."
)


def make_post_panel(
    evaluation: Mapping[str, Any], demonstrated: float, own: int | None = None
) -> Panel | None:
    """Return the section on the sides of the post, None where no rollout says anything of them.

    Args:
        evaluation: Content of evaluation.json.
        demonstrated: Share of the demonstrations that pass left.
        own: Network evaluations of the policy as it is.
    """
    rows = read_rows(evaluation)
    cells: list[Sequence[Cell]] = []
    points = []
    known = False
    text = TEXT
    for row in rows:
        left = _count_share(row.result, "side", "left")
        touched = _count_share(row.result, "post_touched", True)
        known = known or bool(left or touched)
        is_own = row.result["network_evaluations"] == own
        if is_own and left is not None:
            text += _compare_with_demonstrations(row, left, demonstrated)
        cells.append([row.label, left, touched])
        points.append(_make_point(row, left, is_own))
    if not known:
        return None
    cells.append(["demonstrations", f"{100 * demonstrated:.1f} %", ""])
    with rc_context(STYLE):
        chart = draw_shares(
            points, "pass left of the post [%]", ("demonstrations", 100 * demonstrated)
        )
    header = ["evaluations", "pass left", "touch the post"]
    label = "Share that passes left, with 95 % intervals"
    return Panel("Side chosen", text, header, cells, chart, label)


def _make_point(row: Row, share: Estimate | None, own: bool) -> Point:
    estimate = None
    if share is not None:
        value, low, high = share
        estimate = (100 * value, 100 * low, 100 * high)
    return Point(row.label, row.result["latency_ms"]["p50"], estimate, own)


def _compare_with_demonstrations(row: Row, left: Estimate, demonstrated: float) -> str:
    share, low, high = left
    if low <= demonstrated <= high:
        found = "the demonstrations' share lies inside the interval"
    else:
        more = "more" if share > demonstrated else "less"
        found = (
            f"left is {more} frequent than in the demonstrations, whose share lies outside the"
            " interval"
        )
    return f" With {row.label} evaluations, {found}."


def _count_share(result: Result, key: str, value: object) -> Estimate | None:
    """Return how often info[key] is `value`, among the rollouts that say something else than ""."""
    said = 0
    hits = 0
    for rollout in result["rollouts"]:
        found = rollout["info"].get(key, "")
        if found != "":
            said += 1
            hits += found == value
    return (hits / said, *wilson(hits, said)) if said else None
