"""The picture of a latency measurement."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from .charts import ACCENT, INK, MUTED, WARM

COLOURS = (ACCENT, "#0f766e", "#7c3aed", MUTED, INK)  # of engines, the fastest first
WIDTH = 0.8  # of the bars of one number of evaluations
DPI = 150


def draw_bench(result: Mapping[str, Any]) -> bytes:
    """Return a PNG of the medians up to the 99th percentiles, with floor and control period.

    result: the content of bench.json; drawn is the first number of threads.
    """
    threads = result["rows"][0]["threads"]
    rows = [row for row in result["rows"] if row["threads"] == threads]
    rows = [row for row in rows if row["engine"] not in ("encoder", "textbook")]
    counts = sorted({row["network_evaluations"] for row in rows})
    engines = list(dict.fromkeys(row["engine"] for row in rows))
    figure = Figure((6.4, 3.8), layout="constrained")
    axes = figure.add_subplot()
    width = WIDTH / len(engines)
    for index, engine in enumerate(engines):
        own = [row for row in rows if row["engine"] == engine]
        places = np.array([counts.index(row["network_evaluations"]) for row in own])
        x = places - WIDTH / 2 + (index + 0.5) * width
        medians = np.array([row["median_ms"] for row in own])
        tails = np.array([row["p99_ms"] for row in own]) - medians
        colour = COLOURS[index % len(COLOURS)]
        axes.bar(x, medians, 0.9 * width, color=colour, label=engine)
        axes.errorbar(x, medians, [0 * tails, tails], fmt="none", ecolor=INK, capsize=2, lw=0.8)
        for place, median, tail in zip(x, medians, tails, strict=True):
            above = (place, median + tail)
            text = {"textcoords": "offset points", "ha": "center", "fontsize": 7, "color": colour}
            axes.annotate(f"{median:.2g}", above, (0, 3), **text)
    for place, count in enumerate(counts):
        floors = [row.get("floor_ms") for row in rows if row["network_evaluations"] == count]
        if floors[0]:
            ends = (place - WIDTH / 2, place + WIDTH / 2)
            label = "floor of this machine" if not place else None
            axes.plot(ends, (floors[0], floors[0]), color=WARM, lw=1.5, label=label)
    axes.axhline(result["control_period_ms"], color=MUTED, ls="--", lw=1, label="control period")
    axes.set(yscale="log", xticks=range(len(counts)), xticklabels=counts)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set(xlabel="network evaluations", ylabel="a chunk [ms]: median, and up to p99")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    file = BytesIO()
    figure.savefig(file, format="png", dpi=DPI)
    return file.getvalue()
