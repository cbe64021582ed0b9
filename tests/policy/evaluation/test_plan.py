"""What the report shows of one rollout."""

import base64
from io import BytesIO
from pathlib import Path

import pytest
import torch
from opengl import needs_opengl
from PIL import Image

from fewstep.envs.sim.pick_place import spec
from fewstep.policy.checkpoint import load_policy, save_policy
from fewstep.policy.diffusion.samplers import Sampler
from fewstep.policy.evaluation.job import Job
from fewstep.policy.evaluation.plan import play_episode
from fewstep.policy.evaluation.sight import ENLARGED, MOMENTS
from fewstep.policy.networks.encoders.config import EncoderConfig, ImageConfig
from fewstep.policy.networks.temporal_unet import UnetConfig
from fewstep.policy.policy import Policy, PolicyConfig

MODEL = PolicyConfig(
    net=UnetConfig(channels=(8, 8), groups=2, condition=16, time_size=8),
    encoders=EncoderConfig(images=ImageConfig(width=4, features=4, keypoints=4)),
)


def save(folder: Path, cameras: tuple[str, ...]) -> Policy:
    torch.manual_seed(0)
    save_policy(Policy(spec(cameras), MODEL), folder, {})
    return load_policy(folder)


@needs_opengl
@pytest.mark.parametrize("delay", [0, 3])
def test_one_episode_is_shown_as_the_policy_sees_it(tmp_path: Path, delay: int) -> None:
    policy = save(tmp_path, ("front", "wrist"))
    job = Job(str(tmp_path), "pickplace", Sampler(), (0,), delay=delay, seconds=3.0)
    played = play_episode(policy, job, seed=0)
    assert played is not None
    assert list(played.sight) == ["front", "wrist"]
    for pictures in played.sight.values():
        assert len(pictures) == MOMENTS
        image = Image.open(BytesIO(base64.b64decode(pictures[0])))
        assert image.size == (ENLARGED * 86, ENLARGED * 86), "the middle nine tenths of 96 px"
    assert len(played.plan.chunks) == pytest.approx(3.0 * 20 / MODEL.action_steps, abs=1)
    assert len(played.plan.sent) == len(played.plan.time) == 60 - delay


def test_a_policy_without_cameras_sees_nothing(tmp_path: Path) -> None:
    policy = save(tmp_path, ())
    played = play_episode(policy, Job(str(tmp_path), "pickplace", Sampler(), (0,), seconds=1.0), 0)
    assert played is not None and not played.sight
    assert played.plan.names[:2] == ["base_yaw", "shoulder"]
