"""Several trainings as one policy: each request is answered by one of them, whoever asks."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from fewstep.envs import CheckpointError, ConfigError, FewstepWarning, Field, Spec
from fewstep.policy.checkpoint import load_policy, save_policy
from fewstep.policy.cli.main import main
from fewstep.policy.diffusion.samplers import Sampler
from fewstep.policy.engines.ensemble import Ensemble, choose
from fewstep.policy.engines.export import export_policy
from fewstep.policy.engines.loading import find_weights, load_engine
from fewstep.policy.ensemble_folder import find_members, make_ensemble, require_alone
from fewstep.policy.networks.temporal_unet import UnetConfig
from fewstep.policy.policy import Policy, PolicyConfig
from fewstep.policy.policy_folder import load_spec

SPEC = Spec({"x": Field((3,))}, {"x": Field((2,), low=(-1.0,) * 2, high=(1.0,) * 2)}, policy_hz=10)
NET = UnetConfig(channels=(8, 16), kernel=3, groups=4, time_size=8, condition=8, prefix=True)
ROWS = 12


def train(folder: Path, seed: int, spec: Spec = SPEC, **config) -> str:
    """A run folder, as if of this seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        policy = Policy(spec, PolicyConfig(horizon=8, action_steps=4, net=NET, **config))
    save_policy(policy, folder, {})
    return str(folder)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("runs")
    return [train(folder / str(seed), seed) for seed in range(3)]


@pytest.fixture(scope="module")
def three(runs: list[str]) -> Path:
    out = Path(runs[0]).parent / "three"
    make_ensemble(runs, out)
    return out


def asked(engine, rows: int = ROWS) -> tuple[dict[str, np.ndarray], np.ndarray]:
    rng = np.random.default_rng(0)
    count, horizon, size = engine.shape.noise
    noise = rng.standard_normal((count, rows, horizon, size), np.float32)
    return {"x": rng.standard_normal((rows, 2, 3), np.float32)}, noise


@pytest.mark.parametrize("sampler", [None, Sampler(network_evaluations=3)])
@pytest.mark.parametrize("promised", [False, True])
def test_each_request_is_answered_by_the_training_that_its_noise_chooses(
    runs: list[str], three: Path, sampler: Sampler | None, promised: bool
) -> None:
    engine = load_engine(three, sampler=sampler)
    assert isinstance(engine, Ensemble) and engine.shape.horizon == 8 and engine.name == "eager"
    obs, noise = asked(engine)
    prefix = {}
    if promised:
        rng = np.random.default_rng(1)
        promise = rng.standard_normal((ROWS, 8, 2), np.float32)
        prefix = {"prefix": promise, "prefix_length": np.arange(ROWS) % 4}
    found = engine.predict(obs, noise, **prefix)
    chosen = choose(noise, 3)
    assert set(chosen) == {0, 1, 2}
    for number, run in enumerate(runs):
        alone = load_engine(run, sampler=sampler).predict(obs, noise, **prefix)
        rows = chosen == number
        np.testing.assert_allclose(found[rows], alone[rows], atol=1e-5)
        assert np.abs(found[~rows] - alone[~rows]).max() > 0.01


def test_the_same_request_has_the_same_answer_whoever_asks_beside_it(three: Path) -> None:
    engine = load_engine(three)
    obs, noise = asked(engine)
    together = engine.predict(obs, noise)
    noise_of_others = noise.copy()
    noise_of_others[:, 1:] += 1  # which chooses other trainings
    assert (engine.predict(obs, noise_of_others)[0] == together[0]).all()
    for row in range(ROWS):
        alone = engine.predict({"x": obs["x"][[row]]}, noise[:, [row]])
        np.testing.assert_allclose(alone[0], together[row], atol=1e-5)


def test_all_trainings_answer_alike_often() -> None:
    noise = np.random.default_rng(0).standard_normal((1, 30000, 4, 2), np.float32)
    counts = np.bincount(choose(noise, 3))
    assert counts.min() > 9700 and counts.max() < 10300


def test_an_ensemble_is_a_folder_of_whole_policies_without_their_logs(
    runs: list[str], tmp_path: Path
) -> None:
    for name in (
        "log.jsonl",
        "resume.safetensors",
        "monitor.npz",
        "events.out.tfevents.1",
        ".lock",
    ):
        (Path(runs[1]) / name).write_text("of the training")
    (Path(runs[1]) / "evaluation").mkdir()
    (Path(runs[1]) / "evaluation" / "0.mp4").write_text("of a rollout")
    made = make_ensemble(runs[:2], tmp_path / "two")
    assert made == [Path(run) for run in runs[:2]]
    kept = {str(path.relative_to(tmp_path / "two")) for path in (tmp_path / "two").rglob("*.*")}
    files = {"policy.json", "model.safetensors"}
    assert kept == files | {f"members/01/{name}" for name in files} | {"ensemble.json"}
    assert load_spec(tmp_path / "two") == SPEC
    members = find_members(tmp_path / "two")
    for member, run in zip(members, runs[:2], strict=True):
        saved, weights = load_policy(member).state_dict(), load_policy(run).state_dict()
        assert all(torch.equal(saved[key], weights[key]) for key in weights)
    weights = find_weights(tmp_path / "two")
    assert weights not in {find_weights(run) for run in runs}
    make_ensemble([str(tmp_path / "two"), runs[2]], tmp_path / "more")
    assert len(find_members(tmp_path / "more")) == 3
    assert find_weights(tmp_path / "more") != weights


def test_what_changes_a_spec_changes_that_of_all(runs: list[str], tmp_path: Path) -> None:
    out = tmp_path / "two"
    make_ensemble(runs[:2], out)
    assert main(["spec", f"policy={out}", "set={actions: {x: {velocity: 7}}}"]) == 0
    for member in find_members(out):
        assert load_spec(member).actions["x"].velocity == (7.0, 7.0)
    load_engine(out)


def test_what_is_no_ensemble_is_refused_and_nothing_is_written(
    runs: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    longer = train(tmp_path / "longer", 4, observation_steps=3)
    mean = train(tmp_path / "mean", 6, agreement=0.05)
    other = train(tmp_path / "spec", 5, Spec(SPEC.observations, SPEC.actions, policy_hz=20))
    for policies, error, message in (
        (runs[:1], ConfigError, "at least two"),
        ([runs[0], runs[1], runs[0]], ConfigError, "is the same training as"),
        ([runs[0], longer], CheckpointError, "otherwise than .*: in observation_steps"),
        ([runs[0], mean], CheckpointError, "otherwise than .*: in agreement"),
        ([runs[0], other], CheckpointError, "has another Spec than"),
        ([runs[0], str(tmp_path / "nothing")], CheckpointError, "holds no policy"),
    ):
        with pytest.raises(error, match=message):
            make_ensemble(policies, out)
        assert not out.exists()
    out.mkdir()
    with pytest.raises(ConfigError, match="is there already"):
        make_ensemble(runs, out)


def test_a_policy_of_before_a_setting_goes_with_one_that_has_it_off(
    runs: list[str], tmp_path: Path
) -> None:
    older = Path(train(tmp_path / "older", 7)) / "policy.json"
    meta = json.loads(older.read_text())
    del meta["config"]["agreement"], meta["config"]["actuation_delay"]
    older.write_text(json.dumps(meta))
    make_ensemble([runs[0], str(older.parent)], tmp_path / "two")
    load_engine(tmp_path / "two")


def test_what_takes_one_training_says_so(three: Path, tmp_path: Path, capsys) -> None:
    with pytest.raises(ConfigError, match=r"is 3 trainings, and tune takes one: name a run folder"):
        require_alone(three, "tune")
    out = f"out={tmp_path / 'out'}"
    for line in (
        ["tune", "task=pusht-mujoco"],
        ["distill", f"data={tmp_path}", out],
        ["train", f"data={tmp_path}", out],
        ["export", out],
        ["bench"],
    ):
        assert main([line[0], f"policy={three}", *line[1:]]) == 2
        assert "is 3 trainings" in capsys.readouterr().err


def test_the_command_makes_one_that_acts(runs: list[str], tmp_path: Path, capsys) -> None:
    out = tmp_path / "both"
    assert main(["ensemble", f"policies=[{runs[0]},{runs[1]}]", f"out={out}"]) == 0
    assert "a policy of 2 trainings" in capsys.readouterr().out
    assert isinstance(load_engine(out), Ensemble)


def test_a_member_that_was_changed_alone_is_found(runs: list[str], tmp_path: Path) -> None:
    out = tmp_path / "two"
    make_ensemble(runs[:2], out)
    second = find_members(out)[1]
    save_policy(load_policy(second).with_sampler(Sampler(network_evaluations=3)), second, {})
    with pytest.raises(CheckpointError, match=r"differ in their sampler: .*make the ensemble anew"):
        load_engine(out)


def test_a_training_that_was_lost_is_missed(runs: list[str], tmp_path: Path) -> None:
    out = tmp_path / "three"
    make_ensemble(runs, out)
    (out / "members" / "02" / "policy.json").unlink()
    with pytest.raises(CheckpointError, match=r"02/policy.json is missing: .* of 3 trainings"):
        load_engine(out)
    (out / "ensemble.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"ensemble.json is damaged"):
        load_engine(out)


def test_an_engine_is_made_for_all_trainings_or_left_out_for_all(
    runs: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "two"
    make_ensemble(runs[:2], out)
    obs, noise = asked(load_engine(out))
    exported = load_engine(out, "onnx")  # exports are made on the way
    np.testing.assert_allclose(
        exported.predict(obs, noise), load_engine(out).predict(obs, noise), atol=1e-4
    )
    for member in find_members(out):
        export_policy(member)
    assert load_engine(out, "fastest").name in ("onnx", "openvino")
    (find_members(out)[1] / "chunk.onnx").write_text("damaged")
    with pytest.warns(FewstepWarning, match="left out: .*01/chunk.onnx"):
        assert load_engine(out, "fastest").name == "eager"
