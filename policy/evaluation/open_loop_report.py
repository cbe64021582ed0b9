"""The page of an open-loop evaluation: one HTML file that needs no other file and no network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context

from ...demos.windows import Windows
from .charts import STYLE, Plan, StepLine, draw_action, draw_steps_ahead, to_svg
from .open_loop import OpenLoop
from .report import MOST_ACTIONS, collect_facts, format_share, open_template
from .sight import MOMENTS, draw_sight


@dataclass(frozen=True)
class Shown:
    """An episode of the page."""

    title: str
    curves: list[str]  # a chart for each action element
    cameras: dict[str, list[str]]  # pictures as the network sees them, PNG in base64


def report_open_loop(path: Path, found: OpenLoop, command: str = "") -> None:
    """Write open_loop.html.

    Args:
        path: Of the page.
        found: What it shows.
        command: That does it again.
    """
    content = found.content
    own = content["results"][content["own"]]
    with rc_context(STYLE):
        lines = _collect_lines(content)
        chart = to_svg(draw_steps_ahead(lines, content["action_steps"], content["policy_hz"]))
        episodes = _show_episodes(found, own)
    page = open_template("open_loop.html").render(
        content=content,
        own=own,
        references=content["references"],
        chart=chart,
        elements=_rank_elements(content, own),
        episodes=episodes,
        names=found.policy.spec.element_names(),
        most=MOST_ACTIONS,
        facts=_collect_facts(found, command),
    )
    path.write_text(page, encoding="utf-8")


def _collect_lines(content: Mapping[str, Any]) -> list[StepLine]:
    lines: list[StepLine] = []
    for index, result in enumerate(content["results"]):
        count = result["network_evaluations"]
        label = f"{count} evaluation{'s' if count > 1 else ''}"
        lines.append(StepLine(label, result["by_step"], own=index == content["own"]))
    for name, result in content["references"].items():
        if result is not None:
            lines.append(StepLine(name, result["by_step"], reference=True))
    return lines


def _rank_elements(content: Mapping[str, Any], own: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the elements of a result with what the references say of each, the worst first."""
    rows: list[dict[str, Any]] = []
    for index, element in enumerate(own["elements"]):
        row = dict(element)
        for name, reference in content["references"].items():
            row[name] = reference and reference["elements"][index]["executed"]
        rows.append(row)
    return sorted(rows, key=lambda row: -(row["executed_share"] or 0.0))


def _show_episodes(found: OpenLoop, own: Mapping[str, Any]) -> list[Shown]:
    """Return the best, the median and the worst episode of a result, as far as they differ."""
    shares = [episode["executed"] for episode in own["episodes"]]
    order = np.argsort(shares, kind="stable").tolist()
    last = len(order) - 1
    titles = {last // 2: "Median", last: "Worst", 0: "Best"}
    if last < 2:
        titles = {last: "Worst", 0: "Best"} if last else {0: "The only one"}
    shown: list[Shown] = []
    for place in sorted(titles):
        index = order[place]
        number = own["episodes"][index]["episode"]
        title = f"{titles[place]}: episode {number}, {format_share(shares[index])}"
        rows = found.windows.starts == np.unique(found.windows.starts)[index]
        windows = found.windows.select(rows)
        plan = _make_plan(found, windows, found.predicted[rows])
        count = min(MOST_ACTIONS, len(plan.names))
        curves = [to_svg(draw_action(plan, element)) for element in range(count)]
        shown.append(Shown(title, curves, _look(found, windows)))
    return shown


def _make_plan(found: OpenLoop, windows: Windows, chunks: np.ndarray) -> Plan:
    """Return the recorded actions of an episode, and the chunks (W, H, A) of its windows."""
    spec = found.policy.spec
    start = int(windows.starts[0])
    recorded = found.recorded[start : int(windows.ends[0])]
    period = 1 / spec.policy_hz
    planned = []
    for frame, chunk in zip(windows.frames.tolist(), chunks, strict=True):
        planned.append(((frame - start) * period, period, chunk))
    return Plan(
        np.arange(len(recorded)) * period,
        recorded,
        spec.element_names(),
        spec.element_units(),
        planned,
    )


def _look(found: OpenLoop, windows: Windows) -> dict[str, list[str]]:
    """Return pictures of each camera over an episode, as the network sees them."""
    last = int(windows.ends[0]) - 1
    frames = np.linspace(windows.starts[0], last, MOMENTS).round().astype(int)
    seen: dict[str, list[str]] = {}
    for camera in found.policy.spec.images:
        pictures = found.reader.look(camera, np.unique(frames))
        seen[camera] = draw_sight(found.policy, camera, pictures)
    return seen


def _collect_facts(found: OpenLoop, command: str) -> dict[str, str]:
    content = found.content
    numbers = ", ".join(map(str, content["numbers"]))
    facts = {
        "demonstrations": content["data"],
        "episodes": f"{numbers}; {content['note']}",
        "seed of the noise": str(content["seed"]),
        "engine": content["engine"],
    }
    return facts | collect_facts(found.policy, content, command)
