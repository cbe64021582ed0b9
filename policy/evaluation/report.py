"""The report: what a policy can do, in one HTML page that needs no other file and no network."""

from __future__ import annotations

import os
import platform
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from matplotlib import rc_context
from matplotlib.figure import Figure

from ..policy import Policy
from .charts import (
    STYLE,
    Estimate,
    LogRow,
    Point,
    draw_action,
    draw_outcome,
    draw_training,
    to_svg,
)
from .comparison import Result, compare, is_paired, label_results
from .plan import Played

MOST_ACTIONS = 7  # action elements that are drawn
VERDICTS = {
    "better": "higher than with",
    "worse": "lower than with",
    "no difference": "no different from",
    "undecided": "undecided against",
}
Cell = str | Estimate | None  # text, a share with its 95 % interval, or not known


@dataclass(frozen=True)
class Panel:
    """A section of its own that a task adds to the report."""

    title: str
    text: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]  # those of the evaluation's results first, in their order
    chart: Figure
    chart_label: str


@dataclass(frozen=True)
class Row:
    """One result as the page shows it."""

    result: Result
    label: str  # tells it apart from the others
    value: float  # success rate, or score where success is not known
    interval: tuple[float | None, float | None]
    judged: bool  # success is known

    @property
    def note(self) -> str:
        """What the label adds to the number of network evaluations."""
        return self.label.removeprefix(str(self.result["network_evaluations"]))

    def point(self, own: Row | None) -> Point:
        """Return it as a point of a chart, filled where it is `own` or there is no such."""
        low, high = self.interval
        ends = (self.value, self.value) if low is None or high is None else (low, high)
        scale = 100 if self.judged else 1
        return Point(
            self.label,
            self.result["latency_ms"]["p50"],
            (scale * self.value, scale * ends[0], scale * ends[1]),
            own=own is None or own is self,
            plain=not self.note,
        )


def write_report(
    path: Path,
    *,
    title: str,
    evaluation: Mapping[str, Any],
    control_period_ms: float,
    facts: Mapping[str, str],
    log: Sequence[LogRow] = (),
    played: Played | None = None,
    videos: Sequence[Path] = (),
    panels: Sequence[Panel] = (),
    own: int | None = None,
) -> None:
    """Write the page; what is None, empty or not in the data is left out.

    Args:
        path: Of the page.
        title: Its heading.
        evaluation: Content of evaluation.json.
        control_period_ms: Of the robot [ms].
        facts: Shown in their order, "command..." as command lines; "cpu_seconds" stands in for log.
        log: Rows of log.jsonl.
        played: One rollout.
        videos: mp4 files.
        panels: Sections that the task adds.
        own: Network evaluations of the policy as it is, for the headline; by default those of the
            first result.
    """
    rows = read_rows(evaluation)
    chosen = _find_own(rows, own)
    page = open_template("report.html").render(
        title=title,
        evaluation=evaluation,
        rows=rows,
        own=chosen,
        compared=_compare(chosen, rows) if is_paired(evaluation) else {},
        charts=_draw_charts(rows, chosen, control_period_ms, log, played),
        panels=panels,
        panel_charts=[to_svg(panel.chart) for panel in panels],
        period=control_period_ms,
        log=log,
        cost=f"{log[-1]['cpu_seconds']:,.0f}" if log else facts.get("cpu_seconds"),
        played=played,
        films=[_embed(video) for video in videos],
        facts=facts,
    )
    path.write_text(page, encoding="utf-8")


def _find_own(rows: Sequence[Row], own: int | None) -> Row:
    for row in rows:
        if row.result["network_evaluations"] == own:
            return row
    return rows[0]


def _embed(video: Path) -> tuple[str, str]:
    """Return the name of a video and its content, in base64."""
    return video.name, b64encode(video.read_bytes()).decode()


def collect_facts(policy: Policy, evaluation: Mapping[str, Any], command: str) -> dict[str, str]:
    """Return what a page says of how it came about; command: that does it again."""
    libraries = [f"{library} {version}" for library, version in evaluation["versions"].items()]
    facts = {
        "parameters": f"{sum(parameter.numel() for parameter in policy.parameters()):,}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": ", ".join(libraries),
    }
    return {"command": command, **facts} if command else facts


def write_success_picture(evaluation: Mapping[str, Any], path: Path) -> None:
    """Write the chart of success against latency as a PNG on white."""
    rows = read_rows(evaluation)
    with rc_context(STYLE):
        _draw_outcome(rows, None, None).savefig(path, format="png", dpi=200, facecolor="white")


def read_rows(evaluation: Mapping[str, Any]) -> list[Row]:
    """Return the results as the page shows them: by success where all know it, else by score."""
    results = evaluation["results"]
    judged = all(result["success_rate"] is not None for result in results)
    rows = []
    for result, label in zip(results, label_results(results), strict=True):
        value = result["success_rate"] if judged else result["mean_max_reward"]
        interval = result["interval"] if judged else result["mean_max_reward_interval"]
        rows.append(Row(result, label, value, tuple(interval), judged))
    return rows


def _compare(own: Row, rows: Sequence[Row]) -> dict[str, list[str]]:
    """Return verdicts about `own`, each with the labels of the rows that it is set beside."""
    found: dict[str, list[str]] = {}
    for row in rows:
        if row is own:
            continue
        comparison = compare(own.result, row.result)
        label = row.label
        if comparison.more_episodes:
            more = comparison.more_episodes
            label += f" ({more:,} more episodes would tell {comparison.margin:.3g})"
        found.setdefault(VERDICTS[comparison.verdict], []).append(label)
    return found


def _draw_charts(
    rows: Sequence[Row],
    own: Row,
    control_period_ms: float,
    log: Sequence[LogRow],
    played: Played | None,
) -> dict[str, Any]:
    charts: dict[str, Any] = {"training": "", "plan": []}
    with rc_context(STYLE):
        charts["outcome"] = to_svg(_draw_outcome(rows, own, control_period_ms))
        if log:
            charts["training"] = to_svg(draw_training(log))
        if played is not None:
            for index in range(min(MOST_ACTIONS, len(played.plan.names))):
                charts["plan"].append(to_svg(draw_action(played.plan, index)))
    return charts


def _draw_outcome(rows: Sequence[Row], own: Row | None, control_period_ms: float | None) -> Figure:
    points = [row.point(own) for row in rows]
    judged = rows[0].judged
    return draw_outcome(points, "success [%]" if judged else "score", judged, control_period_ms)


def open_template(name: str) -> jinja2.Template:
    """Return a page of this folder, to be rendered with what it shows."""
    page = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page.filters["percent"] = _format_percent
    page.filters["share"] = format_share
    page.filters["ms"] = _format_milliseconds
    page.filters["interval"] = _format_interval
    page.filters["span"] = _format_span
    return page.get_template(name)


def _format_percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def format_share(share: float) -> str:
    """Return a share in percent, a small one with more digits."""
    return f"{100 * share:.1f} %" if abs(share) >= 0.1 else f"{100 * share:.2f} %"


def _format_milliseconds(time: float) -> str:
    return f"{time:.1f}" if time >= 1 else f"{time:.2f}"


def _format_interval(estimate: Sequence[float]) -> str:
    low, high = estimate[-2:]
    return f"{100 * low:.1f} to {100 * high:.1f} %"


def _format_span(ends: Sequence[float | None]) -> str:
    return "unknown" if None in ends else f"{ends[0]:.3f} to {ends[1]:.3f}"
