"""The report: what a policy can do, in one HTML page that needs no other file and no network."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from .statistics import wilson

INK, MUTED, GRID, CARD, ACCENT, WARM = (
    "#1f2937",
    "#667085",
    "#dfe3e8",
    "#ffffff",
    "#2563eb",
    "#c2570c",
)
VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    GRID: "grid",
    CARD: "card",
    ACCENT: "accent",
    WARM: "warm",
}  # of report.html
STYLE: Any = {
    **{
        "font.size": 8.5,
        "text.parse_math": False,
        "svg.fonttype": "none",
        "svg.hashsalt": "fewstep",
    },
    **{
        "axes.facecolor": "none",
        "figure.facecolor": "none",
        "axes.spines.top": False,
        "axes.spines.right": False,
    },
    **{
        "axes.edgecolor": MUTED,
        "axes.labelcolor": MUTED,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
    },
    **{
        "text.color": INK,
        "legend.frameon": False,
        "axes.grid": True,
        "grid.color": GRID,
        "axes.axisbelow": True,
    },
}
WIDTH = 4.7  # of a chart [in]: its text is legible where a phone shows it 350 px wide
PANELS = 7  # action elements that are drawn
Row = Mapping[str, Any]  # one of evaluation["results"], with what `_read` adds
Estimate = tuple[float, float, float]  # a share with its 95 % interval, in [0, 1]


@dataclass(frozen=True)
class Plan:
    """One rollout's actions in robot units, planned and sent.

    time (T,) [s]; sent (T, A); names and units (A,); chunks: time of the first action [s], dt [s], actions (H, A).
    """

    time: np.ndarray
    sent: np.ndarray
    names: Sequence[str]
    units: Sequence[str]
    chunks: Sequence[tuple[float, float, np.ndarray]]


def write_report(
    path: Path,
    *,
    title: str,
    evaluation: Mapping[str, Any],
    log: Sequence[Mapping[str, float]],
    control_period_ms: float,
    sides: Mapping[str, float] | None,
    plan: Plan | None,
    video: Path | None,
    facts: Mapping[str, str],
    own: int | None = None,
) -> None:
    """Write the page; what is None, empty or not in the data is left out.

    evaluation: content of evaluation.json; log: rows of log.jsonl; sides: shares of the demonstrations, "left" and
    "right"; video: an mp4; facts: shown in their order, "command..." as command lines, and "cpu_seconds" stands in for
    the log; own: network evaluations of the policy as it is, for the headline (default: those of the first result).
    """
    rows = [_read(r, evaluation["results"]) for r in evaluation["results"]]
    chosen = next((r for r in rows if r["network_evaluations"] == own), rows[0])
    share = (sides or {}).get("left")
    page = _template().render(
        {
            "title": title,
            "evaluation": evaluation,
            "rows": rows,
            "own": chosen,
            "compared": _compare(chosen, rows),
        },
        charts=_charts(rows, chosen, control_period_ms, share, log, plan),
        period=control_period_ms,
        demonstrations=share,
        log=log,
        cost=f"{log[-1]['cpu_seconds']:,.0f}" if log else facts.get("cpu_seconds"),
        plan=plan,
        film=video.name if video else "",
        video=b64encode(video.read_bytes()).decode() if video else "",
        facts=facts,
    )
    path.write_text(page, encoding="utf-8")


def success_picture(evaluation: Mapping[str, Any], path: Path) -> None:
    """Write the chart of success against latency and network evaluations as a PNG on white."""
    rows = [_read(r, evaluation["results"]) for r in evaluation["results"]]
    with rc_context(STYLE):
        _success(rows).savefig(path, format="png", dpi=200, facecolor="white")


def _charts(
    rows: Sequence[Row],
    own: Row,
    period: float,
    demonstrations: float | None,
    log: Sequence[Mapping[str, float]],
    plan: Plan | None,
) -> dict[str, Any]:
    with rc_context(STYLE):
        return {
            "success": _svg(_success(rows, own, period)),
            "sides": _svg(_sides(rows, own, demonstrations))
            if any(r["left"] or r["touched"] for r in rows)
            else "",
            "training": _svg(_training(log)) if log else "",
            "plan": [_svg(_panel(plan, i)) for i in range(min(PANELS, len(plan.names)))]
            if plan
            else [],
        }


def _template() -> jinja2.Template:
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    page = jinja2.Environment(
        loader=loader,
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page.filters["percent"] = lambda share: f"{100 * share:.1f} %"
    page.filters["ms"] = lambda x: f"{x:.1f}" if x >= 1 else f"{x:.2f}"
    page.filters["interval"] = lambda estimate: (
        f"{100 * estimate[-2]:.1f} to {100 * estimate[-1]:.1f} %"
    )
    page.filters["span"] = lambda ends: (
        "unknown" if None in ends else f"{ends[0]:.3f} to {ends[1]:.3f}"
    )
    return page.get_template("report.html")


def _read(row: Row, rows: Sequence[Row]) -> Row:
    """A result with its label and what its rollouts say about the post."""
    notes = [row["sampler"]["step"]] if len({r["sampler"]["step"] for r in rows}) > 1 else []
    notes += (
        [f"{row['delay_ticks']} ticks late"] if len({r["delay_ticks"] for r in rows}) > 1 else []
    )
    note = f" ({', '.join(notes)})" if notes else ""
    shares = {"left": _share(row, "side", "left"), "touched": _share(row, "post_touched", True)}
    return {**row, **shares, "note": note, "label": f"{row['network_evaluations']}{note}"}


def _share(row: Row, key: str, value: object) -> Estimate | None:
    """How often info[key] is `value`, among the rollouts that say something else than ""."""
    found = [e["info"][key] for e in row.get("rollouts", ()) if e["info"].get(key, "") != ""]
    hits = sum(x == value for x in found)
    return (hits / len(found), *wilson(hits, len(found))) if found else None


def _compare(own: Row, rows: Sequence[Row]) -> dict[str, list[str]]:
    """Verdict -> labels of the other rows that it holds for; overlapping intervals are never ranked."""
    said: dict[str, list[str]] = {}
    for r in (r for r in rows if r is not own):
        more, fewer = own["interval"][0] > r["interval"][1], own["interval"][1] < r["interval"][0]
        verdict = (
            "higher than with" if more else "lower than with" if fewer else "no difference shown to"
        )
        said.setdefault(verdict, []).append(r["label"])
    return said


def _success(rows: Sequence[Row], own: Row | None = None, period: float | None = None) -> Figure:
    """Success against the latency that it costs, every point marked with its network evaluations."""
    figure, axes = _axes(WIDTH, 2.9)
    for row in rows:
        x, (y, low, high) = (
            row["latency_ms"]["p50"],
            (100 * v for v in (row["success_rate"], *row["interval"])),
        )
        axes.errorbar([x], [y], [[y - low], [high - y]], fmt="none", color=ACCENT, capsize=4)
        filled = own is None or row is own
        box = {
            "boxstyle": "circle" if row["note"] == "" else "round",
            "ec": ACCENT,
            "fc": ACCENT if filled else CARD,
        }
        axes.annotate(
            row["label"], (x, y), ha="center", va="center", bbox=box, color=CARD if filled else INK
        )
        under = {"facecolor": CARD, "edgecolor": "none", "pad": 0.8}
        axes.annotate(
            f"{y:.1f}",
            (x, y),
            (0, -12),
            textcoords="offset points",
            ha="center",
            va="top",
            bbox=under,
        )
    if period is not None:
        axes.axvline(period, color=WARM, ls="--", label=f"control period, {period:g} ms")
        _legend(axes)
    low, high = (100 * f(r["interval"][i] for r in rows) for f, i in ((min, 0), (max, 1)))
    axes.set(ylim=(max(low - 5, -5) - 0.1 * (high - low), min(high + 5, 105)), ylabel="success [%]")
    axes.set(xlabel="median latency of a chunk [ms]; circled: network evaluations")
    _logarithmic(axes, "x")
    axes.margins(x=0.15)
    return figure


def _sides(rows: Sequence[Row], own: Row, demonstrations: float | None) -> Figure:
    figure, axes = _points(rows, [r["left"] for r in rows], own)
    axes.set(ylim=(-3, 112), yticks=range(0, 101, 20), ylabel="pass left of the post [%]")
    if demonstrations is not None:
        axes.axhline(100 * demonstrations, color=WARM, ls="--", label="demonstrations")
        _legend(axes)
    return figure


def _training(log: Sequence[Mapping[str, float]]) -> Figure:
    figure, axes = _axes(WIDTH, 2.7)
    axes.plot(
        [r["step"] for r in log],
        [r["loss"] for r in log],
        color=ACCENT,
        lw=1,
        label="training batches",
    )
    held = [r for r in log if "held_out_loss" in r]
    if held:
        steps, losses = [r["step"] for r in held], [r["held_out_loss"] for r in held]
        axes.plot(steps, losses, "o-", color=WARM, ms=3, label="held-out episodes")
    axes.set(xlabel="step", ylabel="loss")
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}")
    _logarithmic(axes)
    _legend(axes)
    return figure


def _panel(plan: Plan, i: int) -> Figure:
    figure, axes = _axes(3.0, 1.8)
    for begin, dt, actions in plan.chunks:
        axes.plot(
            begin + dt * np.arange(len(actions)), actions[:, i], color=ACCENT, lw=0.8, alpha=0.7
        )
        axes.plot(begin, actions[0, i], "o", color=ACCENT, ms=2.5)
    axes.plot(plan.time, plan.sent[:, i], color=INK, lw=1.5)
    axes.set(xlabel="time [s]")
    axes.set_title(f"{plan.names[i]} [{plan.units[i]}]", loc="left", fontsize=9)
    return figure


def _points(
    rows: Sequence[Row], estimates: Sequence[Estimate | None], own: Row | None
) -> tuple[Figure, Axes]:
    """A lane per row with its estimate [%], filled for `own`; even lanes, as a true log axis would crowd 2 and 3."""
    figure, axes = _axes(WIDTH, 2.7)
    for x, (row, estimate) in enumerate(zip(rows, estimates, strict=False)):
        if estimate:
            y, low, high = (100 * v for v in estimate)
            fill = ACCENT if own is None or row is own else CARD
            axes.errorbar(
                [x],
                [y],
                [[y - low], [high - y]],
                fmt="o",
                color=ACCENT,
                mfc=fill,
                ms=6.5,
                capsize=4,
            )
            box = {"facecolor": CARD, "edgecolor": "none", "pad": 0.8}
            axes.annotate(
                f"{y:.1f}", (x, high), (0, 5), textcoords="offset points", ha="center", bbox=box
            )
    axes.set_xticks(range(len(rows)), [r["label"] for r in rows])
    axes.set(xlim=(-0.6, len(rows) - 0.4), xlabel="network evaluations per action chunk")
    axes.grid(False, axis="x")
    return figure, axes


def _axes(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure((width, height), layout="constrained")
    return figure, figure.add_subplot()


def _logarithmic(axes: Axes, name: str = "y") -> None:
    axes.set(**{f"{name}scale": "log"})
    axis = getattr(axes, f"{name}axis")
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(lambda y, _: f"{y:g}")
    axis.set_minor_locator(NullLocator())


def _legend(axes: Axes) -> None:
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=4,
        borderaxespad=0,
        handlelength=1.5,
        columnspacing=1.2,
    )


def _svg(figure: Figure) -> str:
    """The chart as an element of the page: its colours are the page's variables, its text is in the page's font."""
    file = BytesIO()
    figure.savefig(
        file, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type"))
    )
    head, body = file.getvalue().decode().split("</defs>", 1)
    box = head.split('viewBox="')[1].split('"')[0]
    body = re.sub(r' id="[A-Za-z0-9.]+_\d+"|font-family: [^;]*; ', "", body).replace(
        "xlink:href", "href"
    )
    for colour, variable in VARIABLES.items():
        body = body.replace(colour, f"var(--{variable})")
    return f'<svg viewBox="{box}">{body}'
