"""Charts of the report: drawn by matplotlib, put into the page as elements of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

INK = "#1f2937"
MUTED = "#667085"
GRID = "#dfe3e8"
CARD = "#ffffff"
ACCENT = "#2563eb"
WARM = "#c2570c"
VARIABLES = {  # of report_style.html, which stand for these colours
    INK: "ink",
    MUTED: "muted",
    GRID: "grid",
    CARD: "card",
    ACCENT: "accent",
    WARM: "warm",
}
STYLE: Any = {
    "font.size": 8.5,
    "text.parse_math": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "fewstep",
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "text.color": INK,
    "legend.frameon": False,
    "axes.grid": True,
    "grid.color": GRID,
    "axes.axisbelow": True,
}
WIDTH = 4.7  # [in] of a chart, whose text is legible where a phone shows it 350 px wide
PATCH = {"facecolor": CARD, "edgecolor": "none", "pad": 0.8}  # behind a number
LogRow = Mapping[str, float]  # of log.jsonl
Estimate = tuple[float, float, float]  # a value with its 95 % interval


@dataclass(frozen=True)
class Plan:
    """One rollout's actions in robot units, planned and sent."""

    time: np.ndarray  # (T,) [s]
    sent: np.ndarray  # (T, A)
    names: Sequence[str]  # A of them
    units: Sequence[str]  # A of them
    # time of the first action [s], time between actions [s], actions (H, A)
    chunks: Sequence[tuple[float, float, np.ndarray]]


@dataclass(frozen=True)
class Point:
    """One result in a chart."""

    label: str
    latency_ms: float  # [ms] median of a chunk
    estimate: Estimate | None
    own: bool = True  # filled
    plain: bool = True  # its label is a number alone


@dataclass(frozen=True)
class StepLine:
    """An error against steps ahead."""

    label: str
    shares: Sequence[float | None]  # (H,) None where nothing was recorded so far ahead
    own: bool = False  # of the policy as it is
    reference: bool = False  # of no policy


def draw_outcome(
    points: Sequence[Point], name: str, percent: bool, control_period_ms: float | None = None
) -> Figure:
    """Draw success or score against the latency that it costs, every point with its label.

    percent: The values lie from 0 to 100.
    """
    figure, axes = _open_axes(WIDTH, 2.9)
    lows: list[float] = []
    highs: list[float] = []
    for point in points:
        if point.estimate is None:
            continue
        value, low, high = point.estimate
        lows.append(low)
        highs.append(high)
        _draw_point(axes, point, f"{value:.1f}" if percent else f"{value:.3g}")
    if control_period_ms is not None:
        label = f"control period, {control_period_ms:g} ms"
        axes.axvline(control_period_ms, color=WARM, ls="--", label=label)
        _add_legend(axes)
    if lows:
        axes.set_ylim(*_limits(min(lows), max(highs), percent))
    axes.set_ylabel(name)
    axes.set_xlabel("median latency of a chunk [ms]; circled: network evaluations")
    _make_logarithmic(axes, "x")
    axes.margins(x=0.15)
    return figure


def _draw_point(axes: Axes, point: Point, text: str) -> None:
    assert point.estimate is not None
    value, low, high = point.estimate
    ends = [[value - low], [high - value]]
    place = (point.latency_ms, value)
    axes.errorbar([point.latency_ms], [value], ends, fmt="none", color=ACCENT, capsize=4)
    circle = {
        "boxstyle": "circle" if point.plain else "round",
        "ec": ACCENT,
        "fc": ACCENT if point.own else CARD,
    }
    ink = CARD if point.own else INK
    axes.annotate(point.label, place, ha="center", va="center", bbox=circle, color=ink)
    axes.annotate(
        text, place, (0, -12), textcoords="offset points", ha="center", va="top", bbox=PATCH
    )


def _limits(low: float, high: float, percent: bool) -> tuple[float, float]:
    """Return the ends of the vertical axis, with room for the number below the lowest point."""
    if percent:
        return max(low - 5, -5) - 0.1 * (high - low), min(high + 5, 105)
    room = (high - low) or abs(high) or 1.0
    return low - 0.25 * room, high + 0.1 * room


def draw_shares(
    points: Sequence[Point], name: str, reference: tuple[str, float] | None = None
) -> Figure:
    """Draw a lane for every result with its estimate [%]; reference: a named line [%]."""
    figure, axes = _open_axes(WIDTH, 2.7)
    for lane, point in enumerate(points):
        if point.estimate is None:
            continue
        value, low, high = point.estimate
        axes.errorbar(
            [lane],
            [value],
            [[value - low], [high - value]],
            fmt="o",
            color=ACCENT,
            mfc=ACCENT if point.own else CARD,
            ms=6.5,
            capsize=4,
        )
        above = (lane, high)
        axes.annotate(
            f"{value:.1f}", above, (0, 5), textcoords="offset points", ha="center", bbox=PATCH
        )
    axes.set_xticks(range(len(points)), [point.label for point in points])
    axes.set_xlim(-0.6, len(points) - 0.4)
    axes.set_xlabel("network evaluations per action chunk")
    axes.grid(False, axis="x")
    axes.set(ylim=(-3, 112), yticks=range(0, 101, 20), ylabel=name)
    if reference is not None:
        label, height = reference
        axes.axhline(height, color=WARM, ls="--", label=label)
        _add_legend(axes)
    return figure


def draw_training(log: Sequence[LogRow]) -> Figure:
    """Draw the loss over the steps of training."""
    figure, axes = _open_axes(WIDTH, 2.7)
    steps = [row["step"] for row in log]
    losses = [row["loss"] for row in log]
    axes.plot(steps, losses, color=ACCENT, lw=1, label="training batches")
    measured = [row for row in log if "held_out_loss" in row]
    if measured:
        steps = [row["step"] for row in measured]
        losses = [row["held_out_loss"] for row in measured]
        axes.plot(steps, losses, "o-", color=WARM, ms=3, label="held-out episodes")
    axes.set(xlabel="step", ylabel="loss")
    axes.xaxis.set_major_formatter(lambda step, _: f"{step:,.0f}")
    _make_logarithmic(axes, "y")
    _add_legend(axes)
    return figure


def draw_action(plan: Plan, index: int) -> Figure:
    """Draw one element of the actions: every chunk as it was planned, and what was sent."""
    figure, axes = _open_axes(3.0, 1.8)
    for begin, period, actions in plan.chunks:
        times = begin + period * np.arange(len(actions))
        axes.plot(times, actions[:, index], color=ACCENT, lw=0.8, alpha=0.7)
        axes.plot(begin, actions[0, index], "o", color=ACCENT, ms=2.5)
    axes.plot(plan.time, plan.sent[:, index], color=INK, lw=1.5)
    axes.set(xlabel="time [s]")
    axes.set_title(f"{plan.names[index]} [{plan.units[index]}]", loc="left", fontsize=9)
    return figure


def draw_steps_ahead(lines: Sequence[StepLine], action_steps: int, hz: float) -> Figure:
    """Draw errors against steps ahead; the first action_steps, which would run, are shaded.

    hz: of the policy [1/s].
    """
    figure, axes = _open_axes(WIDTH, 3.0)
    axes.axvspan(-0.5, action_steps - 0.5, color=ACCENT, alpha=0.07, lw=0)
    dashes = cycle((":", "-.", (0, (6, 1)), (0, (3, 1))))
    colours = cycle((WARM, MUTED))
    for line in lines:
        percent = [np.nan if share is None else 100 * share for share in line.shares]
        if line.reference:
            axes.plot(percent, color=next(colours), ls="--", lw=1.5, label=line.label)
        elif line.own:
            axes.plot(percent, color=ACCENT, lw=2.2, label=line.label)
        else:
            axes.plot(percent, color=ACCENT, ls=next(dashes), lw=1.2, label=line.label)
    horizon = max(len(line.shares) for line in lines)
    axes.set(xlim=(-0.5, horizon - 0.5), xlabel=f"steps ahead, {1e3 / hz:g} ms each")
    axes.set(ylabel="error [% of range]")
    axes.set_ylim(bottom=0)
    _add_legend(axes, columns=3)
    return figure


def to_svg(figure: Figure) -> str:
    """Return a chart as an element of the page, with the page's colours and font."""
    file = BytesIO()
    no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(file, format="svg", metadata=no_metadata)
    head, body = file.getvalue().decode().split("</defs>", 1)
    box = head.split('viewBox="')[1].split('"')[0]
    body = re.sub(r' id="[A-Za-z0-9.]+_\d+"|font-family: [^;]*; ', "", body)
    body = body.replace("xlink:href", "href")
    for colour, variable in VARIABLES.items():
        body = body.replace(colour, f"var(--{variable})")
    return f'<svg viewBox="{box}">{body}'


def _open_axes(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure((width, height), layout="constrained")
    return figure, figure.add_subplot()


def _make_logarithmic(axes: Axes, name: str) -> None:
    axes.set(**{f"{name}scale": "log"})
    axis = getattr(axes, f"{name}axis")
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_locator(NullLocator())


def _add_legend(axes: Axes, columns: int = 4) -> None:
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=columns,
        borderaxespad=0,
        handlelength=1.5,
        columnspacing=1.2,
    )
