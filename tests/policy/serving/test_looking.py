"""`fewstep run` with a policy that looks: what the cameras see reaches it, and what lacks is said."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fewstep.envs import Field, Spec
from fewstep.envs.pictures import resize
from fewstep.policy.checkpoint import save_policy
from fewstep.policy.cli.main import main
from fewstep.policy.networks.encoders.config import EncoderConfig, ImageConfig
from fewstep.policy.networks.temporal_unet import UnetConfig
from fewstep.policy.policy import Policy, PolicyConfig

DRIVER = '''
import numpy as np
from fewstep.envs import Field, Spec
from fewstep.envs.hardware.simulated_arm import SimulatedArm

class SeeingArm(SimulatedArm):
    """An arm with a camera of 160x120, whose pictures become brighter."""

    def __init__(self, shape=(120, 160, 3), camera="front"):
        super().__init__(hz=50, joints=2)
        self._camera = camera
        self._shape = tuple(shape)
        seen = {camera: Field(self._shape, kind="image"), **self.spec.observations}
        self.spec = Spec(seen, self.spec.actions, self.spec.policy_hz, self.spec.command_hz)

    def observe(self):
        obs = super().observe()
        obs.data[self._camera] = np.full(self._shape, int(20 * obs.time) % 256, np.uint8)
        obs.stamps[self._camera] = obs.time
        return obs
'''
MODEL = PolicyConfig(
    horizon=16,
    action_steps=8,
    encoders=EncoderConfig(images=ImageConfig(side=48, width=4, features=4, keypoints=4)),
    net=UnetConfig(channels=(8, 16), groups=4, condition=16, time_size=16, prefix=True),
)
PATIENT = ("watchdog.action_seconds=30", "watchdog.observation_seconds=10")


def save_looking(folder: Path, spec: Spec) -> Path:
    torch.manual_seed(0)
    save_policy(Policy(spec, MODEL), folder, {})
    return folder


@pytest.fixture
def seeing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Spec]:
    """A folder with a policy that looks, and a robot that sees, as in the user's own folder."""
    (tmp_path / "seeing_arm.py").write_text(DRIVER)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    from fewstep.envs.hardware.registry import make_live

    spec = make_live("seeing_arm:SeeingArm", {}).spec
    return save_looking(tmp_path / "policy", spec), spec


def run(policy: Path, *settings: str) -> int:
    given = [f"policy={policy}", "unattended=true", "seconds=1.5", "out=log", *PATIENT]
    return main(["run", *given, *settings])


def test_what_a_camera_sees_reaches_the_policy(seeing: tuple[Path, Spec]) -> None:
    policy, spec = seeing
    assert run(policy, "robot=seeing_arm:SeeingArm") == 0
    said = [json.loads(line) for line in Path("log/events.jsonl").read_text().splitlines()]
    assert not [event for event in said if event["event"] == "fault"]
    ended = [event for event in said if event["event"] == "ended"]
    assert ended
    assert Spec.from_json(json.loads(Path("log/run.json").read_text())["spec"]) == spec


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("options={camera: wrist}", "observation 'front' is missing"),
        (
            "options={shape: [240, 320, 3]}",
            "'front': shape is (240, 320, 3), expected (120, 160, 3)",
        ),
    ],
)
def test_a_robot_that_does_not_see_the_same_is_refused(
    seeing: tuple[Path, Spec], options: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    policy, _ = seeing
    assert run(policy, "robot=seeing_arm:SeeingArm", options) != 0
    assert message in capsys.readouterr().err


def test_a_simulated_task_gets_the_cameras_that_the_policy_sees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    from fewstep.envs.sim.pick_place import spec as task_spec

    whole = task_spec(("wrist",))
    kept = {key: whole.observations[key] for key in ("joints", "gripper", "wrist")}
    policy = save_looking(tmp_path / "policy", replace(whole, observations=kept))
    assert run(policy, "robot=pickplace") == 0


def test_pictures_are_resized_alike_in_training_and_acting() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    assert resize(picture, (48, 64)).shape == (48, 64, 3)
    assert resize(picture, (120, 160)) is picture
    flat = np.full((90, 110, 3), 77, np.uint8)
    assert (resize(flat, (45, 55)) == 77).all()
    assert Field((120, 160, 3), kind="image").dtype == np.uint8
