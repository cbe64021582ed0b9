"""The whole path on the built-in task, in small."""

from pathlib import Path

import pytest
from opengl import needs_opengl

from fewstep.demos.store import DemoStore
from fewstep.envs import ConfigError
from fewstep.policy.checkpoint import load_policy
from fewstep.policy.evaluation.demo import DemoConfig, DemoEvents, demo
from fewstep.policy.evaluation.sight import MOMENTS
from fewstep.policy.networks.encoders.config import EncoderConfig, ImageConfig
from fewstep.policy.networks.temporal_unet import UnetConfig
from fewstep.policy.policy import PolicyConfig
from fewstep.policy.training.config import TrainConfig

MODEL = PolicyConfig(
    net=UnetConfig(channels=(8, 8), groups=2, condition=16, time_size=8),
    encoders=EncoderConfig(images=ImageConfig(width=4, features=4, keypoints=4)),
)
TRAINING = TrainConfig(
    steps=2, batch=2, log_every=1, held_out=0.0, states=("joints", "gripper"), model=MODEL
)
SMALL = DemoConfig(cameras=True, demonstrations=2, episodes=1, workers=1)


@needs_opengl
def test_from_pixels_it_ends_in_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fewstep.policy.evaluation.demo.NETWORK_EVALUATIONS", (1,))
    monkeypatch.setattr("fewstep.policy.evaluation.demo.tune", lambda policy, **settings: None)
    stages: list[str] = []
    report = demo(tmp_path, SMALL, TRAINING, events=DemoEvents(on_stage=stages.append))
    assert len(stages) == 5
    assert list(DemoStore.open(tmp_path / "demos").spec.images) == ["front", "wrist"]
    fields = ["joints", "gripper", "front", "wrist"]
    assert list(load_policy(tmp_path / "policy").spec.observations) == fields
    page = report.read_text()
    assert "2 network evaluations per action chunk" in " ".join(page.split()), "its own number"
    assert "What the policy sees" in page and page.count('alt="wrist, picture') == MOMENTS
    with pytest.raises(ConfigError, match="which see front, wrist: choose another out="):
        demo(tmp_path, DemoConfig(), TRAINING)
