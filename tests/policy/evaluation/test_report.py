import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest

from fewstep.policy.evaluation.charts import STYLE, VARIABLES, Plan
from fewstep.policy.evaluation.plan import Played
from fewstep.policy.evaluation.post import make_post_panel
from fewstep.policy.evaluation.report import write_report, write_success_picture
from fewstep.policy.evaluation.statistics import mean_interval, wilson

STYLE_SHEET = Path(__file__).parents[3] / "policy" / "evaluation" / "report_style.html"


def result(
    evaluations: int, wins: int, episodes: int = 100, left: int | None = None, **more: Any
) -> dict[str, Any]:
    """A row of evaluation.json.

    The first `left` episodes pass left, every tenth touches the post.
    """
    scores = [1.0] * wins + [0.4] * (episodes - wins)
    sides = (
        [{"side": "left" if i < left else "right"} for i in range(episodes)]
        if left
        else [{}] * episodes
    )
    infos = [side | ({"post_touched": i % 10 == 0} if left else {}) for i, side in enumerate(sides)]
    return {
        "network_evaluations": evaluations,
        "sampler": {"step": "ddim"},
        "episodes": episodes,
        "successes": wins,
        "success_rate": wins / episodes,
        "interval": list(wilson(wins, episodes)),
        "mean_max_reward": float(np.mean(scores)),
        "mean_max_reward_interval": list(mean_interval(scores)),
        "latency_ms": {
            "p50": 1.5 * evaluations,
            "p99": 2.5 * evaluations,
            "max": 4.0 * evaluations,
        },
        "delay_ticks": 0,
        "rollouts": [
            {"seed": 100_000 + i, "success": i < wins, "score": scores[i], "info": info}
            for i, info in enumerate(infos)
        ],
        **more,
    }


def evaluation(*rows: dict[str, Any]) -> dict[str, Any]:
    return {"task": "pickplace", "policy": "out/train", "seed": 100_000, "results": list(rows)}


def page(path: Path, *rows: dict[str, Any], **changed: Any) -> str:
    """The report, as it was written, without line breaks."""
    parts: dict[str, Any] = {"title": "t", "control_period_ms": 50.0, "facts": {}} | changed
    whole = evaluation(*rows) | parts.pop("evaluated", {})
    if "demonstrated" in parts:
        panel = make_post_panel(whole, parts.pop("demonstrated"), parts.get("own"))
        parts["panels"] = [panel] if panel else []
    write_report(path / "report.html", evaluation=whole, **parts)
    return " ".join((path / "report.html").read_text(encoding="utf-8").split())


def log_rows() -> list[dict[str, float]]:
    rows = [{"step": s, "loss": 1 / s, "cpu_seconds": 12.3 * s} for s in (100, 200, 300)]
    rows[-1]["held_out_loss"] = 0.0042
    return rows


def plan(actions: int = 2, name: str = "joint") -> Plan:
    time, sent = np.arange(20) * 0.05, np.random.default_rng(0).normal(size=(20, actions))
    return Plan(
        time,
        sent,
        [f"{name} {i}" for i in range(actions)],
        ["rad"] * actions,
        [(0.0, 0.05, sent[:16])],
    )


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("full")
    video = folder / "success-100003.mp4"
    video.write_bytes(b"film")
    rows = [
        result(1, 60, left=90),
        result(2, 94, left=50),
        result(3, 96, left=52),
        result(10, 95, left=49),
    ]
    more = {
        "demonstrated": 0.52,
        "played": Played(plan(), {}),
        "videos": [video],
        "own": 2,
        "log": log_rows(),
    }
    return page(folder, *rows, facts={"commands": "fewstep demo", "machine": "a laptop"}, **more)


def test_every_number_has_its_interval(full: str) -> None:
    for wins in (60, 94, 96, 95):
        low, high = (100 * v for v in wilson(wins, 100))
        assert (
            f"{wins}.0 % <small>{low:.1f} to {high:.1f} %</small> <small>{wins} of 100</small>"
            in full
        )
        low, high = mean_interval([1.0] * wins + [0.4] * (100 - wins))
        assert (
            f"{wins * 0.01 + (100 - wins) * 0.004:.3f} <small>{low:.3f} to {high:.3f}</small>"
            in full
        )


def test_headline_is_the_policy_as_it_is(full: str) -> None:
    head = full[full.index("<header>") : full.index("</header>")]
    assert "<b>94.0 %</b> success with 2 network evaluations per action chunk" in head
    assert (
        "<b>3.0 ms</b> median latency; p99 5.0 ms" in head
        and "10.0 % of the control period of 50 ms" in head
    )
    assert "<b>3,690 s</b> of CPU time for training" in head


def test_what_differs_is_judged_on_the_same_starts(full: str, tmp_path: Path) -> None:
    assert "on the same starts: higher than with 1; undecided against 3" in full
    assert re.search(r"3 \([0-9,]+ more episodes would tell 0.05\)", full)
    assert "lower than with 2." in page(tmp_path, result(1, 60), result(2, 94))
    same = [result(1, 950, 1000), result(2, 950, 1000)]
    assert "no different from 2." in page(tmp_path, *same)
    assert "on the same starts" not in page(tmp_path, *same, evaluated={"seeded": False})
    assert 'class="lead"' not in page(tmp_path, result(1, 60))


def test_sides_are_compared_with_the_demonstrations(full: str, tmp_path: Path) -> None:
    low, high = (100 * v for v in wilson(50, 100))
    assert f"50.0 % <small>{low:.1f} to {high:.1f} %</small>" in full and "10.0 % <small>" in full
    assert "share lies inside the interval" in full
    assert "left is more frequent" in page(
        tmp_path, result(1, 60, left=90), demonstrated=0.52, own=1
    )
    assert "Side chosen" not in page(tmp_path, result(1, 60), demonstrated=0.52)


def test_the_report_of_another_task_knows_no_post(tmp_path: Path) -> None:
    assert "post" not in page(tmp_path, result(1, 60, left=90))


def test_a_score_stands_for_success_that_is_not_known(tmp_path: Path) -> None:
    row = result(1, 60) | {"success_rate": None, "successes": None, "interval": None}
    for rollout in row["rollouts"]:
        rollout["success"] = None
    written = page(tmp_path, row, row | {"network_evaluations": 2})
    assert "<b>0.760</b> score with 1 network evaluation" in written
    assert "<th>success</th>" not in written and "<h2>Score</h2>" in written


def test_one_file_without_outside_hosts_or_scripts(full: str) -> None:
    assert not re.findall(r"http|<script|<link|@import|url\((?!#)", full)
    assert re.findall(r'src="([^"]*)"', full) == ["data:video/mp4;base64,ZmlsbQ=="]


def test_charts_follow_the_theme_of_the_page(full: str) -> None:
    charts = re.findall(r"<svg.*?</svg>", full)
    assert len(charts) == 3 + 2
    for chart in charts:
        assert ElementTree.fromstring(chart).get("viewBox")
        assert not re.findall('#[0-9a-f]{6}[;"]', chart)
    style = STYLE_SHEET.read_text(encoding="utf-8")
    assert all(style.count(f"--{name}:") == 2 for name in VARIABLES.values())


def test_missing_parts_are_left_out(tmp_path: Path) -> None:
    headings = re.findall("<h2>(.*?)</h2>", page(tmp_path, result(2, 1, episodes=1)))
    assert headings == ["Success", "Latency"]
    assert "<b>77 s</b>" in page(tmp_path, result(2, 1, episodes=1), facts={"cpu_seconds": "77"})


def test_names_are_text_and_never_markup(tmp_path: Path) -> None:
    bad = '<i>"$x'
    written = page(
        tmp_path,
        result(1, 5),
        title=bad,
        played=Played(plan(name=bad), {}),
        facts={bad: bad, "command": bad},
    )
    assert "<i>" not in written and "&lt;i&gt;" in written
    assert all(
        ElementTree.fromstring(chart) is not None for chart in re.findall(r"<svg.*?</svg>", written)
    )


def test_at_most_seven_actions_are_drawn(tmp_path: Path) -> None:
    written = page(tmp_path, result(1, 5), played=Played(plan(9), {}))
    assert written.count("<svg") == 1 + 7 and "the first 7 of 9 action elements" in written


def test_delays_are_told_apart(tmp_path: Path) -> None:
    written = page(tmp_path, result(2, 94), result(2, 60, delay_ticks=3))
    assert "higher than with 2 (3 ticks late)" in written


def test_picture_is_a_png_and_settings_are_left_alone(tmp_path: Path) -> None:
    before = {key: matplotlib.rcParams[key] for key in STYLE}
    write_success_picture(evaluation(result(1, 60), result(10, 100)), tmp_path / "success.png")
    assert (tmp_path / "success.png").read_bytes().startswith(b"\x89PNG")
    assert {key: matplotlib.rcParams[key] for key in STYLE} == before
