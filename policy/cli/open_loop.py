"""`fewstep evaluate data=...`: predicted chunks beside recorded actions, without a simulator."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from ...envs.atomic_files import write_file, writing
from ..diffusion.samplers import Sampler
from ..evaluation.held_out import HELD_OUT, OTHER_STORE
from ..evaluation.open_loop import evaluate_open_loop
from .printing import say
from .progress import Bars
from .tables import open_loop_table

WORST = 3  # action elements that are told


def run_open_loop(
    policy: str,
    data: str,
    samplers: Sequence[Sampler],
    console: Console,
    *,
    out: Path,
    episodes: int | None,
    engine: str,
    seed: int,
    command: str,
) -> int:
    """Evaluate behind a progress bar; print a table, write open_loop.json and open_loop.html."""
    from ..evaluation.open_loop_report import report_open_loop  # draws with matplotlib

    with writing(out):  # before the work, which would be lost
        out.mkdir(parents=True, exist_ok=True)
    with Bars(console) as bars:
        found = evaluate_open_loop(
            policy,
            data,
            samplers,
            episodes=episodes,
            engine=engine,
            seed=seed,
            on_windows=lambda done, total: bars.update("chunks", total, done, "chunks"),
        )
    content = found.content
    path = out / "open_loop.json"
    write_file(path, json.dumps(content, indent=1, allow_nan=False).encode())
    console.print(open_loop_table(content))
    _print_notes(console, content)
    console.print(f"written to {path}")
    page = out / "open_loop.html"
    with writing(page):
        report_open_loop(page, found, command)
    console.print(f"written to {page}")
    return 0


def _print_notes(console: Console, content: Mapping[str, Any]) -> None:
    """Print the worst elements, what was measured on, and what could not be compared."""
    own = content["results"][content["own"]]
    known = [row for row in own["elements"] if row["executed_share"] is not None]
    known.sort(key=lambda row: -row["executed_share"])
    told = []
    for row in known[:WORST]:
        error = f"{row['name']} {row['executed']:.3g} {row['unit']}".rstrip()
        told.append(f"{error} ({100 * row['executed_share']:.1f} % of its range)")
    count = own["network_evaluations"]
    evaluations = f"{count} evaluation{'s' if count > 1 else ''}"
    say(console, f"largest errors, with {evaluations}: {', '.join(told)}")
    several = "s" if content["episodes"] > 1 else ""
    measured = f"{content['episodes']} episode{several}, {content['windows']} chunks"
    is_fair = content["status"] in (HELD_OUT, OTHER_STORE)
    say(console, f"{measured}; {content['note']}", style="" if is_fair else "yellow")
    if content["no_nearest"]:
        say(console, f"no nearest: {content['no_nearest']}")
