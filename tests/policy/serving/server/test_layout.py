"""How clients call what a policy observes, and who may ask at all."""

from pathlib import Path

import numpy as np
import pytest

from fewstep.envs import ConfigError, Field, ProtocolError, Spec
from fewstep.envs.web.array_maps import flatten
from fewstep.policy.serving.server.access import read_key, require_key, shows_key
from fewstep.policy.serving.server.config import ServeConfig, require_sound
from fewstep.policy.serving.server.layout import read_layout

CAMERA = Field((24, 24, 3), kind="image")
ACTIONS = {"arm": Field((7,))}


def spec(**observations: Field) -> Spec:
    return Spec(observations, ACTIONS, 10.0)


PICTURE = np.zeros((24, 24, 3), np.uint8)
CLIENTS = {
    "libero": (
        spec(state=Field((8,)), image=CAMERA, wrist_image=CAMERA),
        {
            "observation/state": np.arange(8.0),
            "observation/image": PICTURE,
            "observation/wrist_image": PICTURE,
            "prompt": "open the drawer",
        },
    ),
    "droid": (
        spec(state=Field((8,)), exterior_image_1_left=CAMERA, wrist_image_left=CAMERA),
        {
            "observation/joint_position": np.arange(7.0),
            "observation/gripper_position": np.array([7.0]),
            "observation/exterior_image_1_left": PICTURE,
            "observation/wrist_image_left": PICTURE,
        },
    ),
    "aloha": (
        spec(state=Field((14,)), cam_high=CAMERA, cam_low=CAMERA),
        {
            "state": np.arange(14.0),
            "images": {"cam_high": PICTURE.transpose(2, 0, 1), "cam_low": PICTURE},
        },
    ),
    "ur5": (
        spec(state=Field((7,)), base_rgb=CAMERA, wrist_rgb=CAMERA),
        {"joints": np.arange(6.0), "gripper": 6.0, "base_rgb": PICTURE, "wrist_rgb": PICTURE},
    ),
}


@pytest.mark.parametrize("name", CLIENTS)
def test_the_layouts_of_known_clients_are_read(name: str) -> None:
    described, content = CLIENTS[name]
    observed = read_layout(name, described).read(flatten(content), described)
    assert observed["state"].tolist() == list(range(described.observations["state"].size))
    for key, field in described.observations.items():
        assert observed[key].shape == field.shape and observed[key].dtype == field.dtype


def test_a_layout_can_be_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("mine:\n  state: [arm/q, arm/grip]\n")
    described = spec(state=Field((4,)))
    layout = read_layout(str(path), described)
    content = {"arm/q": np.arange(3.0), "arm/grip": np.array([3.0])}
    assert layout.read(content, described)["state"].tolist() == [0, 1, 2, 3]
    histories = {"arm/q": np.ones((2, 3)), "arm/grip": np.zeros((2, 1))}
    assert layout.read(histories, described, 2)["state"].shape == (2, 4)
    for wrong in (
        {"arm/q": np.ones((2, 3)), "arm/grip": np.zeros(1)},
        {"arm/q": np.ones((2, 3)), "arm/grip": np.zeros((3, 1))},
        {"arm/q": np.ones(3), "arm/grip": np.zeros(2)},
    ):
        with pytest.raises(ProtocolError, match="arm/"):
            layout.read(wrong, described)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mine:\n  other: x\n", "does not say what the policy's state is"),
        ("mine:\n  state: 5\n", "a client's key is a text"),
        ("mine:\n  state: []\n", "a client's key is a text"),
        ("mine:\n  state: [x, x]\n", "uses a key of x, x twice"),
        ("mine:\n  state: x\n  stat: y\n", "names stat, which the policy does not observe"),
        ("mine:\n  state: time\n", "'state' cannot be time"),
        ("- a\n", "one table"),
        ("a: {state: x}\nb: {state: x}\n", "one table"),
        ("mine: 3\n", "holds no layout"),
        ("{", "holds no layout"),
    ],
)
def test_a_layout_that_is_none_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said) as refused:
        read_layout(str(path), spec(state=Field((4,))))
    assert "mine" in str(refused.value) or "state" in str(refused.value)


def test_unknown_layouts_are_told_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="aloha, droid, libero, ur5"):
        read_layout("franka", spec(state=Field((4,))))
    with pytest.raises(ConfigError, match="holds no layout"):
        read_layout("missing.yaml", spec(state=Field((4,))))


def test_a_camera_is_one_key(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("mine:\n  front: [a, b]\n")
    with pytest.raises(ConfigError, match="camera 'front' is one key"):
        read_layout(str(path), spec(front=CAMERA))


def test_another_address_than_this_machine_needs_a_key(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("FEWSTEP_API_KEY", raising=False)
    require_key("127.0.0.1", read_key(""))
    with pytest.raises(ConfigError, match=r"host=0\.0\.0\.0 lets other machines ask"):
        require_key("0.0.0.0", read_key(""))
    path = tmp_path / "key"
    path.write_text("0123456789abcdef\n")
    require_key("0.0.0.0", read_key(str(path)))
    path.write_text("short")
    with pytest.raises(ConfigError, match="16 printable characters"):
        read_key(str(path))
    path.write_text("")
    with pytest.raises(ConfigError, match="16 printable characters"):
        read_key(str(path))
    with pytest.raises(ConfigError, match="cannot be read"):
        read_key(str(tmp_path / "missing"))
    monkeypatch.setenv("FEWSTEP_API_KEY", "from-the-environment")
    assert read_key("") == "from-the-environment"


def test_a_key_is_shown_whole() -> None:
    key = "0123456789abcdef"
    assert shows_key({"Authorization": f"Api-Key {key}"}, key)
    assert shows_key({"Authorization": f"Bearer {key}"}, key)
    for wrong in ("", key, f"Api-Key {key}x", f"Api-Key {key[:-1]}", f"Basic {key}", "Api-Key é"):
        assert not shows_key({"Authorization": wrong}, key)


@pytest.mark.parametrize(
    "wrong", [{"port": 70000}, {"batch": -1}, {"threads": 0}, {"network_evaluations": -2}]
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        require_sound(ServeConfig("pusht", **wrong))  # pyright: ignore
