"""The monitor: what it scores, what its threshold promises, and the file that it lies in."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fewstep.demos.episode import Episode
from fewstep.demos.store import DemoStore
from fewstep.envs import CheckpointError, ConfigError, Field, RobotError, Spec
from fewstep.envs.agent import Request
from fewstep.envs.chunk import Chunk
from fewstep.envs.control.telemetry import RunLog
from fewstep.policy.checkpoint import load_policy, save_policy
from fewstep.policy.cli.main import main
from fewstep.policy.engines.eager import EagerEngine
from fewstep.policy.evaluation.judged_runs import read_judged_scores
from fewstep.policy.evaluation.monitor_calibration import calibrate, fit_monitor
from fewstep.policy.monitoring import fitting
from fewstep.policy.monitoring.fitting import copy_embedding, fit_distillation
from fewstep.policy.monitoring.monitor import FILE, Monitor, read_monitor
from fewstep.policy.monitoring.scorer import ChunkMonitor, Scorer
from fewstep.policy.networks.temporal_unet import UnetConfig
from fewstep.policy.policy import Policy, PolicyConfig

SPEC = Spec(
    {
        "joints": Field((3,), "rad"),
        "heading": Field((1,), "rad", kind="angle"),
        "tool": Field((4,), kind="quaternion"),
        "eye": Field((48, 48, 3), kind="image"),
    },
    {"joints": Field((3,), "rad", low=(-2.0,) * 3, high=(2.0,) * 3)},
    10,
)
STATES = replace(SPEC, observations={"joints": SPEC.observations["joints"]})
NET = UnetConfig(channels=(8, 16), groups=4, condition=16, time_size=16)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "STEPS", 300)


def make_policy(spec: Spec) -> Policy:
    torch.manual_seed(0)
    policy = Policy(spec, PolicyConfig(horizon=8, action_steps=4, net=NET))
    with torch.no_grad():
        for group in ("observation", "action"):
            low = policy.normaliser.get_buffer(f"{group}_low")
            low -= torch.rand(low.shape)
    return policy


def draw(spec: Spec, count: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    obs = {}
    for key, field in spec.observations.items():
        if field.is_image:
            obs[key] = rng.integers(0, 256, (count, 1, *field.shape), np.uint8)
        else:
            obs[key] = rng.standard_normal((count, 2, *field.shape)).astype(np.float32)
    return obs


def test_numpy_embeds_as_the_policy_does() -> None:
    policy = make_policy(SPEC)
    obs = draw(SPEC, 7, np.random.default_rng(0))
    obs["joints"][0] = 100.0  # farther than is told apart
    looked = EagerEngine(policy).look(obs)
    assert looked["eye"].shape == (7, 1, policy.config.encoders.images.features)
    with torch.no_grad():
        expected = policy.features({key: torch.as_tensor(value) for key, value in obs.items()})
    embedded = copy_embedding(policy).embed(SPEC, looked)
    np.testing.assert_allclose(embedded, expected.numpy(), atol=1e-5)


def test_an_engine_that_has_looked_need_not_look_again() -> None:
    policy = make_policy(SPEC)
    engine = EagerEngine(policy)
    rng = np.random.default_rng(0)
    obs = draw(SPEC, 3, rng)
    count, horizon, size = engine.shape.noise
    noise = rng.standard_normal((count, 3, horizon, size)).astype(np.float32)
    again = engine.predict(engine.look(obs), noise)
    np.testing.assert_allclose(engine.predict(obs, noise), again, atol=1e-6)


def test_what_is_unlike_what_was_learnt_from_scores_higher() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.uniform(0, 2 * np.pi, (2, 3000))
    known = np.column_stack([np.cos(a), np.sin(a), np.cos(2 * a), np.sin(2 * a)])
    distillation = fit_distillation(known[:2000])
    unknown = known[2000:].copy()  # each number alone is usual
    unknown[:, 2:] = np.column_stack([np.cos(2 * b), np.sin(2 * b)])[2000:]
    assert np.median(distillation.score(unknown)) > 5 * np.median(distillation.score(known[2000:]))
    again = fit_distillation(known[:2000])
    assert (again.score(known) == distillation.score(known)).all(), "the seed decides"


def monitor_of(policy: Policy, weights: str = "") -> Monitor:
    rng = np.random.default_rng(1)
    known = fit_distillation(rng.standard_normal((300, NET.condition)))
    return Monitor(weights, copy_embedding(policy), known, np.full(3, 0.5))


def test_disagreement_is_of_what_both_chunks_plan_beyond_what_was_promised() -> None:
    policy = make_policy(STATES)
    scorer = Scorer(EagerEngine(policy), monitor_of(policy))
    obs = {"joints": np.zeros((2, 3), np.float32)}
    first = Chunk(0, 0.0, 0.1, np.zeros((8, 3)))
    second = Chunk(0, 0.4, 0.1, np.full((8, 3), 0.25))
    promised = Request(0, obs, 1, 0.4, prefix=np.zeros((2, 3)))
    kept = replace(second, actions=np.vstack([np.zeros((2, 3)), second.actions[2:]]))
    asked = Request(0, obs, 0, 0.0)
    assert scorer.score(["a"], [asked], [first])[0, 1] == 0.0
    assert scorer.score(["b"], [asked], [second])[0, 1] == 0.0, "another episode"
    assert scorer.score(["a"], [promised], [kept])[0, 1] == pytest.approx(0.5)
    late = Chunk(0, 5.0, 0.1, np.zeros((8, 3)))
    assert scorer.score(["a"], [asked], [late])[0, 1] == 0.0, "nothing of the old one is left"


def test_the_next_good_episode_gives_alarm_as_seldom_as_was_promised() -> None:
    rng = np.random.default_rng(0)
    monitor = monitor_of(make_policy(STATES))
    given = []
    for seed in range(300):
        worst = list(rng.lognormal(size=(41, 2)) * [1e-3, 40.0])
        calibrated = calibrate(monitor, worst[:40], 0.2, "here", seed).calibration
        assert calibrated is not None
        given.append(calibrated.shares(worst[40]).max() > 1)
    assert 0.12 < np.mean(given) < 0.26  # 4 of 21 places, 0.19, give or take three deviations


@pytest.mark.parametrize(
    ("count", "alarms", "message"),
    [
        (9, 0.5, "9 episodes have succeeded, and alarms=0.5 needs at least 10"),
        (16, 0.1, "16 episodes have succeeded, and alarms=0.1 needs at least 17"),
        (40, 0.0, "alarms must lie between 0 and 1"),
    ],
)
def test_too_few_episodes_are_refused(count: int, alarms: float, message: str) -> None:
    monitor = monitor_of(make_policy(STATES))
    with pytest.raises(ConfigError, match=message):
        calibrate(monitor, [np.ones(2)] * count, alarms, "here")


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    save_policy(make_policy(STATES), tmp_path / "run", {})
    rng = np.random.default_rng(0)
    with DemoStore.create(tmp_path / "demos", STATES) as store:
        for _ in range(3):
            joints = np.cumsum(rng.standard_normal((30, 3)) * 0.1, 0).astype(np.float32)
            data = {"joints": joints, "action": joints, "time": np.arange(30) / 10}
            store.append(Episode(data, STATES))
    return tmp_path / "run"


def test_a_monitor_lies_beside_its_policy_and_comes_back(run_folder: Path) -> None:
    made = fit_monitor(str(run_folder), str(run_folder.with_name("demos")))
    made = calibrate(made, [np.array([0.1 * k, 0.2]) for k in range(1, 31)], 0.1, "here")
    made.write(run_folder)
    found = read_monitor(run_folder)
    assert found.calibration == made.calibration and found.weights == made.weights
    engine = EagerEngine(load_policy(run_folder))
    request = Request(0, {"joints": np.zeros((2, 3), np.float32)}, 0, 3.0)
    chunk = Chunk(0, 3.0, 0.1, np.zeros((8, 3)))
    told = [ChunkMonitor(engine, m).score(request, chunk) for m in (made, found)]
    assert told[0] == told[1] and told[0]["score"] == max(told[0]["shares"].values())
    uncalibrated = ChunkMonitor(engine, replace(made, calibration=None)).score(request, chunk)
    assert uncalibrated["score"] is None


@pytest.mark.parametrize("damage", ["cut", "pickled", "others"])
def test_a_damaged_monitor_is_refused_by_name(run_folder: Path, damage: str) -> None:
    fit_monitor(str(run_folder), str(run_folder.with_name("demos"))).write(run_folder)
    path = run_folder / FILE
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:1000])
    if damage == "pickled":
        np.savez(path, facts=np.array([object()], object))
    if damage == "others":
        torch.manual_seed(1)
        other = Policy(STATES, PolicyConfig(horizon=8, action_steps=4, net=NET))
        save_policy(other, run_folder, {})
    with pytest.raises(CheckpointError, match=FILE):
        read_monitor(run_folder)


def write_log(folder: Path, weights: str, episodes: list[tuple[list[float], bool | None]]) -> str:
    log = RunLog(folder)
    log.facts(STATES, sha256=weights)
    for number, (scores, success) in enumerate(episodes):
        log.note("begins", episode=number)
        for score in scores:
            log.note("monitor", observation=score, disagreement=1.0)
        log.note("ended", episode=number)
        log.note("judged", episode=number, success=success)
    log.close()
    return str(folder)


def test_judged_runs_calibrate(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = f"data={run_folder.with_name('demos')}"
    assert main(["monitor", f"policy={run_folder}", data]) == 0
    weights = read_monitor(run_folder).weights
    episodes = [([0.1, float(k), 0.2], True) for k in range(20)]
    episodes += [([99.0], False), ([99.0], None), ([], True)]
    folder = write_log(run_folder.with_name("log"), weights, episodes)
    assert [worst[0] for worst in read_judged_scores([folder], weights)][2:] == [*range(2, 20)]
    assert main(["monitor", f"policy={run_folder}", f"runs=[{folder}]"]) == 0
    found = read_monitor(run_folder).calibration
    assert found is not None and found.episodes == 20
    assert "from 20 episodes that succeeded" in " ".join(capsys.readouterr().out.split())
    other = write_log(run_folder.with_name("other"), "another", episodes)
    with pytest.raises(RobotError, match="another policy"):
        read_judged_scores([other], weights)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ([], "needs data="),
        (["task=pickplace", "runs=[out]"], "not by both"),
        (["task=pickplace"], "has no monitor yet"),
    ],
)
def test_settings_that_make_nothing_are_refused(
    run_folder: Path, capsys: pytest.CaptureFixture[str], settings: list[str], message: str
) -> None:
    assert main(["monitor", f"policy={run_folder}", *settings]) != 0
    assert message in capsys.readouterr().err


def test_a_policy_that_comes_with_the_package_stays_as_it_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["monitor", "policy=pusht", "data=demos"]) != 0
    assert "comes with fewstep: to give it a monitor, copy" in capsys.readouterr().err
