"""Open-loop errors: exact on what was made by hand, honest about what they were measured on."""

import json
import re
from base64 import b64decode
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from open_loop_cases import CONFIG, SPEC, Knowing, make_episode, write_policy, write_store
from PIL import Image

from fewstep.demos.store import DemoStore
from fewstep.demos.windows import split_episodes
from fewstep.envs import CheckpointError, ConfigError, DataError, Field
from fewstep.policy.checkpoint import load_policy
from fewstep.policy.diffusion.samplers import Sampler
from fewstep.policy.evaluation import open_loop
from fewstep.policy.evaluation.action_error import ActionError, rotation_between
from fewstep.policy.evaluation.held_out_error import HeldOutError, few_evaluations
from fewstep.policy.evaluation.open_loop import OpenLoop, default_samplers, evaluate_open_loop
from fewstep.policy.evaluation.open_loop_report import report_open_loop
from fewstep.policy.evaluation.prediction import HistoryReader
from fewstep.policy.evaluation.references import hold_chunks, nearest_chunks
from fewstep.policy.evaluation.sight import ENLARGED

HELD = split_episodes(4, 0.5, 0)[1].tolist()  # two of the four


@pytest.fixture(scope="module")
def demos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_store(tmp_path_factory.mktemp("demos") / "demos")


@pytest.fixture(scope="module")
def policy(demos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_policy(tmp_path_factory.mktemp("policy") / "run", demos)


@pytest.fixture(scope="module")
def measured(demos: Path, policy: Path) -> OpenLoop:
    return evaluate_open_loop(policy, demos)


Know = Callable[..., Knowing]


@pytest.fixture
def know(demos: Path, policy: Path, monkeypatch: pytest.MonkeyPatch) -> Know:
    """Put an engine that knows the recorded actions in place of the policy's."""

    def put(offset: Any = 0.0, after_end: float = 0.0) -> Knowing:
        engine = Knowing(load_policy(policy), demos, np.asarray(offset), after_end)
        monkeypatch.setattr(open_loop, "load_engine", lambda *given: engine)
        return engine

    return put


def offset_of(element: int, amount: float) -> np.ndarray:
    offset = np.zeros(SPEC.action_size)
    offset[element] = amount
    return offset


def content_of(policy: Path, demos: Path, **given: Any) -> dict[str, Any]:
    return evaluate_open_loop(policy, demos, [Sampler()], **given).content


def test_who_does_what_was_recorded_has_no_error(demos: Path, policy: Path, know: Know) -> None:
    know()
    content = evaluate_open_loop(policy, demos).content
    for result in content["results"]:
        assert result["executed"]["share"] == result["chunk"]["share"] == 0
        assert result["by_step"] == [0] * CONFIG.horizon
        hold = content["references"]["hold"]["executed"]["share"]
        assert result["minus_hold"]["difference"] == -hold < 0


def test_who_is_off_by_a_known_amount_has_that_error(demos: Path, policy: Path, know: Know) -> None:
    know(offset_of(1, 0.3))
    result = content_of(policy, demos)["results"][0]
    by_name = {element["name"]: element for element in result["elements"]}
    assert list(by_name) == ["reach[0]", "reach[1]", "turn", "tool", "grip", "step"]
    recorded = DemoStore.open(demos).array("action")[:, 1].astype(float)
    width = np.percentile(recorded, 99) - np.percentile(recorded, 1)
    off = by_name["reach[1]"]
    assert (off["unit"], off["range"]) == ("m", pytest.approx(width))
    assert off["executed"] == pytest.approx(0.3) and off["chunk"] == pytest.approx(0.3)
    assert off["by_step"] == pytest.approx([0.3] * 4)
    assert off["executed_share"] == pytest.approx(0.3 / width)
    assert all(by_name[name]["executed"] == 0 for name in by_name if name != "reach[1]")
    assert result["executed"]["share"] == pytest.approx(0.3 / width / 6)


def test_it_asks_as_an_agent_does_and_leaves_out_what_was_not_recorded(
    demos: Path, policy: Path, know: Know
) -> None:
    engine = know(after_end=100.0)
    content = content_of(policy, demos)
    store = DemoStore.open(demos)
    starts = [0, *store.ends[:-1]]
    wanted: list[int] = []
    for episode in HELD:
        wanted += range(starts[episode], store.ends[episode], CONFIG.action_steps)
    assert engine.asked == wanted and content["windows"] == len(wanted)
    assert content["numbers"] == HELD
    assert content["results"][0]["chunk"]["share"] == 0


def test_the_smaller_error_is_the_better_one(demos: Path, policy: Path, know: Know) -> None:
    know(offset_of(0, 1000.0))
    result = content_of(policy, demos)["results"][0]
    assert result["minus_hold"]["verdict"] == "worse" == result["minus_nearest"]["verdict"]
    low, high = result["minus_hold"]["interval"]
    assert 0 < low < result["minus_hold"]["difference"] < high


def measure(key: str) -> ActionError:
    spec = replace(SPEC, actions={key: SPEC.actions[key]})
    lowest = np.full((1, spec.action_size), -1.0)
    return ActionError.fit(spec, np.concatenate([lowest, -lowest]))


def test_angles_compare_the_shorter_way_round() -> None:
    ours = np.array([[np.pi - 0.1], [3.0]])
    theirs = np.array([[0.1 - np.pi], [-3.0]])
    assert measure("turn").measure(ours, theirs)[:, 0] == pytest.approx([0.2, 2 * np.pi - 6])


def test_rotations_compare_by_the_angle_between_them() -> None:
    one = np.array([1.0, 0, 0, 0])
    quarter = np.array([np.cos(np.pi / 4), np.sin(np.pi / 4), 0, 0])
    assert rotation_between(one, quarter) == pytest.approx(np.pi / 2)
    assert rotation_between(-2 * quarter, one) == pytest.approx(np.pi / 2)
    assert rotation_between(quarter, -quarter) == 0
    assert rotation_between(one, np.array([0, 0, 1.0, 0])) == pytest.approx(np.pi)


def test_what_is_discrete_is_right_or_wrong() -> None:
    found = measure("grip").measure(np.array([[0.1], [-0.1], [5.0]]), np.ones((3, 1)))
    assert found[:, 0].tolist() == [0, 1, 0]


def ranges(field: Field, values: np.ndarray) -> list[float]:
    spec = replace(SPEC, actions={"it": field})
    return ActionError.fit(spec, values.reshape(len(values), -1)).ranges.tolist()


def test_ranges_are_those_of_the_demonstrations() -> None:
    line = np.linspace(0, 100, 1001)
    line[0] = 1e6  # an outlier
    assert ranges(Field((1,)), line) == pytest.approx([98], abs=0.2)
    around = np.linspace(np.pi - 1, np.pi + 1, 1001)
    wrapped = (around + np.pi) % (2 * np.pi) - np.pi
    assert ranges(Field((1,), "rad", "angle"), wrapped) == pytest.approx([1.96], abs=0.01)
    turns = np.linspace(-0.5, 0.5, 1001)
    tool = np.stack([np.cos(turns / 2), np.sin(turns / 2), 0 * turns, 0 * turns], 1)
    tool[::2] *= -1  # the same rotations
    assert ranges(Field((4,), kind="quaternion"), tool) == pytest.approx([0.98], abs=0.01)
    assert ranges(Field((1,), kind="discrete"), line) == [1]


def test_rare_small_and_absent_changes_have_a_range_or_none() -> None:
    rare = np.zeros(1001)
    rare[7] = 2.0
    assert ranges(Field((1,)), rare) == [2]
    line = np.linspace(0, 1, 1001)
    both = np.stack([line, 1e-4 * line], 1)
    assert ranges(Field((2,)), both) == pytest.approx([0.98, 0.0196])
    for field in (Field((1,)), Field((1,), "rad", "angle"), Field((1,), kind="discrete")):
        assert np.isnan(ranges(field, np.full(9, 0.7))).all()
    still = np.tile([1.0, 0, 0, 0], (9, 1))
    assert np.isnan(ranges(Field((4,), kind="quaternion"), still)).all()


def test_hold_keeps_what_is_measured_or_was_sent(demos: Path, measured: OpenLoop) -> None:
    store = DemoStore.open(demos)
    windows = measured.windows
    actions = store.array("action")
    held = hold_chunks(store, actions, windows)
    assert held.shape == (len(windows), CONFIG.horizon, SPEC.action_size)
    before = np.where(windows.frames > windows.starts, windows.frames - 1, windows.frames)
    for step in range(CONFIG.horizon):
        assert np.array_equal(held[:, step, :2], store.array("pose")[windows.frames])
        assert np.array_equal(held[:, step, 2:8], actions[before, 2:8])
        assert not held[:, step, 8].any()


def test_the_error_of_hold_is_counted_as_that_of_a_policy(demos: Path, measured: OpenLoop) -> None:
    store = DemoStore.open(demos)
    reach = []
    for episode in HELD:
        data = store.episode(episode).data
        asked = np.arange(len(data["time"])) // 2 * 2
        reach.append(np.abs(data["pose"][asked, 0] - data["action"][:, 0]).mean())
    element = measured.content["references"]["hold"]["elements"][0]
    assert element["executed"] == pytest.approx(np.mean(reach))


def test_nearest_does_what_was_done_where_the_states_were_alike(tmp_path: Path) -> None:
    demos = tmp_path / "demos"
    with DemoStore.create(demos, SPEC) as store:
        for episode in range(4):  # each situation comes twice, and is answered differently
            store.append(make_episode(9, 9 * (episode % 2), lift=episode // 2))
    held = int(split_episodes(4, 0.25, 2)[1][0])
    found = evaluate_open_loop(write_policy(tmp_path / "run", demos, 0.25, 2), demos, [Sampler()])
    assert found.content["numbers"] == [held]
    store = DemoStore.open(demos)
    arrays = {key: store.array(key) for key in ("pose", "frame", "action")}
    chunks = nearest_chunks(found.policy, store.ends, arrays, np.array([held]), found.windows)
    ours = store.episode(held).data
    theirs = store.episode((held + 2) % 4).data
    assert np.array_equal(ours["pose"], theirs["pose"])
    assert not np.array_equal(ours["action"], theirs["action"])
    for index, frame in enumerate((0, 2, 4, 6, 8)):
        wanted = theirs["action"][np.minimum(frame + np.arange(4), 8)]
        assert np.array_equal(chunks[index], wanted)


def test_trained_on_all_is_said_and_has_no_nearest(demos: Path, tmp_path: Path) -> None:
    run = write_policy(tmp_path / "run", demos, held_out=0.0)
    found = evaluate_open_loop(run, demos)
    content = found.content
    assert (content["status"], content["episodes"]) == ("trained on", 4)
    assert "trained on all of these: these errors flatter it" in content["note"]
    assert content["references"]["nearest"] is None and "no other episodes" in content["no_nearest"]
    assert content["results"][0]["minus_nearest"] is None
    report_open_loop(tmp_path / "page.html", found)
    page = " ".join((tmp_path / "page.html").read_text().split())
    assert "Trained on all of these: these errors flatter it" in page
    assert "not known: no other episodes" in page


def test_a_policy_that_sees_no_states_has_no_nearest(tmp_path: Path) -> None:
    camera = {"camera": Field((60, 80, 3), kind="image")}
    actions = {"turn": SPEC.actions["turn"]}
    spec = replace(SPEC, observations=SPEC.observations | camera, actions=actions)
    demos = write_store(tmp_path / "demos", (10, 10), spec)
    run = write_policy(tmp_path / "run", demos, spec=replace(spec, observations=camera))
    content = content_of(run, demos)
    assert content["status"] == "held out" and "sees no states" in content["no_nearest"]
    assert content["references"]["nearest"] is None


def test_of_another_store_all_episodes_count(policy: Path, tmp_path: Path) -> None:
    content = content_of(policy, write_store(tmp_path / "other", (9, 9, 9)))
    assert (content["status"], content["numbers"]) == ("other store", [0, 1, 2])


def test_a_store_is_known_where_it_was_moved(policy: Path, tmp_path: Path) -> None:
    content = content_of(policy, write_store(tmp_path / "copy"))
    assert (content["status"], content["numbers"]) == ("held out", HELD)


def test_a_store_that_has_grown_tells_nothing(tmp_path: Path) -> None:
    demos = write_store(tmp_path / "demos")
    run = write_policy(tmp_path / "run", demos)
    with DemoStore.open(demos, "a") as store:
        store.append(make_episode(9, store.frames))
    content = content_of(run, demos)
    assert (content["status"], content["episodes"]) == ("unknown", 5)
    assert "holds other episodes than when" in content["note"] and "flatter" in content["note"]


@pytest.mark.parametrize("seed", range(4))
def test_what_a_policy_began_with_counts_too(
    demos: Path, policy: Path, tmp_path: Path, seed: int
) -> None:
    run = write_policy(tmp_path / "run", demos, 0.5, seed, start=str(policy))
    never = sorted({*split_episodes(4, 0.5, seed)[1].tolist()} & {*HELD})
    content = content_of(run, demos)
    if never:
        assert (content["status"], content["numbers"]) == ("held out", never)
    else:
        assert (content["status"], content["episodes"]) == ("trained on", 4)


@pytest.mark.parametrize(
    ("provenance", "status"),
    [
        ({"start": "gone"}, "unknown"),
        ({"train": {}}, "unknown"),
        ({"data": None}, "unknown"),
        ({"teacher": "gone"}, "trained on"),
    ],
)
def test_what_cannot_be_told_is_not_claimed(
    demos: Path, tmp_path: Path, provenance: dict[str, Any], status: str
) -> None:
    content = content_of(write_policy(tmp_path / "run", demos, **provenance), demos)
    assert (content["status"], content["episodes"]) == (status, 4)
    assert "flatter" in content["note"]


def test_the_wrong_store_is_refused(policy: Path, tmp_path: Path) -> None:
    other = write_store(tmp_path / "other", spec=replace(SPEC, policy_hz=20, command_hz=20))
    with pytest.raises(CheckpointError, match=r"not fit the demonstrations at .*policy_hz is 20"):
        evaluate_open_loop(policy, other)


@pytest.mark.parametrize(
    ("given", "says"), [({"episodes": 0}, "at least 1"), ({"seed": -1}, "not be negative")]
)
def test_settings_that_mean_nothing_are_refused(
    demos: Path, policy: Path, given: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        evaluate_open_loop(policy, demos, **given)


def test_actions_that_never_change_cannot_be_missed(tmp_path: Path) -> None:
    spec = replace(SPEC, actions={"grip": SPEC.actions["grip"]})
    demos = write_store(tmp_path / "demos", (3, 3, 3), spec)  # nothing is gripped so early
    config = replace(CONFIG, horizon=2, action_steps=1)
    run = write_policy(tmp_path / "run", demos, config=config)
    with pytest.raises(DataError, match="no recorded action ever changes"):
        evaluate_open_loop(run, demos)


def test_one_episode_has_no_interval(demos: Path, policy: Path, tmp_path: Path) -> None:
    found = evaluate_open_loop(policy, demos, episodes=1)
    content = found.content
    assert (content["episodes"], content["available"]) == (1, 2)
    own = content["results"][0]
    assert own["executed"]["interval"] == own["minus_hold"]["interval"] == [None, None]
    assert own["minus_hold"]["verdict"] == "undecided"
    json.dumps(content, allow_nan=False)
    report_open_loop(tmp_path / "page.html", found)
    assert "no interval" in (tmp_path / "page.html").read_text()


def test_episodes_shorter_than_a_chunk_leave_its_end_unknown(tmp_path: Path) -> None:
    demos = write_store(tmp_path / "demos", (3, 3, 12, 12))
    run = write_policy(tmp_path / "run", demos, held_out=0.0)
    found = evaluate_open_loop(run, demos, episodes=2)
    by_step = found.content["results"][0]["by_step"]
    assert by_step[3] is None and None not in by_step[:3]
    json.dumps(found.content, allow_nan=False)
    report_open_loop(tmp_path / "page.html", found)


def test_the_same_inputs_give_the_same_numbers(
    demos: Path, policy: Path, measured: OpenLoop
) -> None:
    again = evaluate_open_loop(policy, demos)
    assert again.content == measured.content
    first = evaluate_open_loop(policy, demos, episodes=1)
    count = len(first.windows)
    np.testing.assert_allclose(first.predicted, measured.predicted[:count], atol=1e-5)
    other = evaluate_open_loop(policy, demos, seed=1)
    assert not np.array_equal(other.predicted, measured.predicted)


def test_json_says_what_was_done(policy: Path, demos: Path, measured: OpenLoop) -> None:
    content = json.loads(json.dumps(measured.content, allow_nan=False))
    assert [row["network_evaluations"] for row in content["results"]] == [1, 2, 3, 10]
    assert content["own"] == 1
    assert (content["policy"], content["data"]) == (str(policy), str(demos))
    assert content["status"] == "held out" and "2 of 4 episodes" in content["note"]
    for row in content["results"]:
        assert [episode["episode"] for episode in row["episodes"]] == HELD
        shares = [episode["executed"] for episode in row["episodes"]]
        assert row["executed"]["share"] == pytest.approx(np.mean(shares))
        hold = content["references"]["hold"]["executed"]["share"]
        difference = row["minus_hold"]["difference"]
        assert difference == pytest.approx(row["executed"]["share"] - hold)


@pytest.mark.parametrize(
    ("objective", "path", "counts"),
    [
        ("flow_atoms", "", [1, 2, 3, 10]),
        ("regression", "", [1]),
        ("one_step", "", [1]),
        ("eps", "linear", [2]),
        ("v", "cosine", [1, 2, 3, 10, 100]),
    ],
)
def test_evaluations_are_those_that_the_sampler_allows(
    demos: Path, tmp_path: Path, objective: str, path: str, counts: list[int]
) -> None:
    config = replace(CONFIG, objective=objective, path=path)
    policy = load_policy(write_policy(tmp_path / "run", demos, config=config))
    own = policy.config.drawn_by
    assert [sampler.cost for sampler in default_samplers(policy, own)] == counts
    assert few_evaluations(policy).cost == min(2, own.cost)


def test_progress_is_told(demos: Path, policy: Path) -> None:
    told: list[tuple[int, int]] = []
    content = content_of(policy, demos, on_windows=lambda done, total: told.append((done, total)))
    assert told == [(content["windows"], content["windows"])]


class OneEpisode:
    """Samples whose actions are all alike, for a measure that looks at nothing else."""

    def __init__(self, batch: dict[str, Any]) -> None:
        self._batch = batch

    def __len__(self) -> int:
        return len(self._batch["action"])

    def batch(self, rows: Any, generator: Any = None) -> dict[str, Any]:
        return {key: values[rows] for key, values in self._batch.items()}


def test_the_error_in_training_is_that_of_an_evaluation(
    demos: Path, policy: Path, measured: OpenLoop
) -> None:
    import torch

    loaded = load_policy(policy)
    windows = measured.windows
    whole = np.arange(len(windows))[windows.frames + CONFIG.horizon <= windows.ends]
    obs = measured.reader.read(windows.history(whole))
    batch = {key: torch.from_numpy(values) for key, values in obs.items()}
    batch["action"] = torch.from_numpy(measured.recorded[windows.chunk(whole)])
    batch["recorded"] = torch.from_numpy(windows.recorded(whole)[..., None])
    error = HeldOutError(demos)
    found = error(loaded, OneEpisode(batch))
    assert (
        found == error(loaded, OneEpisode(batch)) == HeldOutError(demos)(loaded, OneEpisode(batch))
    )
    # other noise, and no ends of episodes
    assert found == pytest.approx(measured.content["results"][1]["executed"]["share"], rel=0.3)


@pytest.fixture(scope="module")
def seeing(tmp_path_factory: pytest.TempPathFactory) -> tuple[OpenLoop, str]:
    """What a policy with a camera did, and its page without line breaks."""
    folder = tmp_path_factory.mktemp("seeing")
    cameras = {"front": Field((120, 160, 3), kind="image")}
    spec = replace(SPEC, observations=SPEC.observations | cameras)
    demos = write_store(folder / "demos", (9, 10, 11, 12, 9, 8), spec)
    run = write_policy(folder / "run", demos)
    found = evaluate_open_loop(run, demos, [Sampler(), Sampler(network_evaluations=1)])
    report_open_loop(folder / "page.html", found, "fewstep evaluate policy=run data=demos")
    return found, " ".join((folder / "page.html").read_text(encoding="utf-8").split())


def test_the_page_holds_the_figures_of_the_json(seeing: tuple[OpenLoop, str]) -> None:
    found, page = seeing
    own = found.content["results"][0]
    for share in (own["executed"]["share"], found.content["references"]["hold"]["chunk"]["share"]):
        assert f"{100 * share:.1f} %" in page
    headings = re.findall("<h2>(.*?)</h2>", page)
    assert headings == ["Error", "Action elements", "Episodes", "How to reproduce"]
    titles = [title.split(":")[0] for title in re.findall("<h3>(.*?)</h3>", page)]
    assert titles == ["Best", "Median", "Worst"]
    assert "fewstep evaluate policy=run data=demos" in page
    assert "Held out: 3 of 6 episodes" in page


def test_the_page_needs_no_other_file(seeing: tuple[OpenLoop, str]) -> None:
    _, page = seeing
    assert not re.findall(r"http|<script|<link|@import|url\((?!#)", page)
    charts = re.findall(r"<svg.*?</svg>", page)
    assert len(charts) == 1 + 3 * 7
    for chart in charts:
        assert ElementTree.fromstring(chart).get("viewBox")


def test_pictures_are_shown_as_the_network_sees_them(seeing: tuple[OpenLoop, str]) -> None:
    found, page = seeing
    pictures = re.findall('src="data:image/png;base64,([^"]*)"', page)
    assert len(pictures) == 3 * 5
    crop = found.policy.config.encoders.images.crop
    height, width, _ = found.policy.seen.images["front"].shape
    shown = Image.open(BytesIO(b64decode(pictures[0])))
    seen = (round(crop * width), round(crop * height))
    assert shown.size == (ENLARGED * seen[0], ENLARGED * seen[1])


def test_pictures_are_read_at_the_size_that_an_agent_sends(seeing: tuple[OpenLoop, str]) -> None:
    found, _ = seeing
    histories = np.array([[0, 0], [3, 4]])
    obs = found.reader.read(histories)
    assert obs["front"].shape == (2, 1, *found.policy.seen.images["front"].shape)
    assert np.array_equal(obs["front"], found.reader.look("front", histories[:, -1:]))
    assert isinstance(found.reader, HistoryReader)
