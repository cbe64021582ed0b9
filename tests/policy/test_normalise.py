import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from fewstep.envs import DataError, Field, Spec
from fewstep.policy import normaliser as normaliser_module
from fewstep.policy.checkpoint import load_policy, save_policy
from fewstep.policy.field_codes import contract_field, expand_field
from fewstep.policy.field_widths import encoded_width
from fewstep.policy.networks.temporal_unet import UnetConfig
from fewstep.policy.normaliser import Normaliser
from fewstep.policy.policy import Policy, PolicyConfig

MIXED = Spec(
    {
        "pose": Field((3,), "m"),
        "heading": Field((2,), "rad", "angle"),
        "turn": Field((4,), kind="quaternion"),
    },
    {
        "reach": Field((2,), "m"),
        "yaw": Field((1,), "rad", "angle"),
        "tilt": Field((4,), kind="quaternion"),
    },
    policy_hz=10,
)
numbers = st.floats(-1e4, 1e4, width=32)
unit = st.lists(st.floats(-1, 1, width=32), min_size=4, max_size=4).map(np.array)


def flat(size: int) -> Spec:
    return Spec({"state": Field((1,))}, {"action": Field((size,))}, policy_hz=10)


def fitted(actions: np.ndarray) -> Normaliser:
    actions = np.asarray(actions, np.float32)
    data = {"state": np.zeros((len(actions), 1), np.float32), "action": actions}
    return Normaliser.fit(flat(actions.shape[1]), data, np.array([len(actions)]))


def mixed_data(n: int = 20) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    turn, tilt = (q / np.linalg.norm(q, axis=1, keepdims=True) for q in rng.normal(size=(2, n, 4)))
    action = np.concatenate(
        [rng.normal(size=(n, 2)), rng.uniform(-3, 3, (n, 1)), tilt * np.sign(tilt[:, :1])], 1
    )
    data = {
        "pose": rng.normal(size=(n, 3)),
        "heading": rng.uniform(-9, 9, (n, 2)),
        "turn": turn,
        "action": action,
    }
    return {k: v.astype(np.float32) for k, v in data.items()}


@settings(deadline=None, max_examples=80)
@given(st.lists(st.tuples(numbers, numbers), min_size=2, max_size=6))
@example([(0.0, 9735.0), (0.125, 0.0)])
def test_linear_fields_come_back_and_fill_the_range(rows: list[tuple[float, float]]) -> None:
    actions = torch.tensor(rows)
    normaliser = fitted(actions.numpy())
    x = normaliser.encode_actions(actions)
    assert x.abs().max() <= 1 + 1e-5
    scale = actions.abs().amax(0)
    rounding = (
        2e-7 * 0.02 * scale.max()
    )  # in float32, of an element whose range counts as that much of the widest
    assert ((normaliser.decode_actions(x) - actions).abs() <= 2e-6 + 2e-5 * scale + rounding).all()
    for i, span in enumerate(actions.amax(0) - actions.amin(0)):
        if span > max(1e-3 * scale[i], 1e-5, 0.02 * (actions.amax(0) - actions.amin(0)).max()):
            torch.testing.assert_close(x[:, i].amin(), torch.tensor(-1.0), rtol=0, atol=1e-3)
            torch.testing.assert_close(x[:, i].amax(), torch.tensor(1.0), rtol=0, atol=1e-3)


@settings(deadline=None)
@given(st.floats(-1e5, 1e5, width=32), st.floats(-1, 1))
def test_constants_encode_to_zero_and_decode_to_themselves(value: float, jitter: float) -> None:
    almost = value + jitter * (4e-7 + 4e-6 * abs(value))
    normaliser = fitted(np.array([[value, 0.0], [almost, 1.0]]))
    x = normaliser.encode_actions(torch.tensor([[value, 0.5], [value + 7, 0.5]]))
    assert (x == 0).all()
    decoded = normaliser.decode_actions(torch.tensor([[-1.0, 0.0], [1.0, 0.0]]))[:, 0]
    assert decoded[0] == decoded[1] == pytest.approx(min(np.float32(value), np.float32(almost)))


def test_what_varies_a_little_is_no_constant() -> None:
    normaliser = fitted(np.array([[1000.0], [1000.1]]))
    torch.testing.assert_close(
        normaliser.encode_actions(torch.tensor([[1000.1]])), torch.ones(1, 1)
    )


@settings(deadline=None)
@given(st.lists(st.floats(-50, 50), min_size=1, max_size=4))
def test_angles_come_back_up_to_full_turns(angles: list[float]) -> None:
    f = Field((len(angles),), "rad", "angle")
    x = torch.tensor(angles)
    code = expand_field(f, x)
    assert code.shape == (2 * len(angles),) == (encoded_width(f),)
    back = contract_field(f, code)
    assert (back.abs() <= math.pi + 1e-6).all()
    turns = (back - x) / (2 * math.pi)
    torch.testing.assert_close(turns, turns.round(), rtol=0, atol=1e-5)


def test_angles_do_not_jump_where_they_wrap() -> None:
    f = Field((1,), "rad", "angle")
    a, b = (expand_field(f, torch.tensor([x])) for x in (math.pi - 1e-3, -math.pi + 1e-3))
    assert (a - b).abs().max() < 0.01


@settings(deadline=None, max_examples=200)
@given(unit)
def test_quaternions_come_back_with_w_not_negative(q: np.ndarray) -> None:
    assume(np.linalg.norm(q) > 1e-3)
    f = Field((4,), kind="quaternion")
    q = torch.tensor(q / np.linalg.norm(q)).float()
    code = expand_field(f, q)
    assert code.shape == (6,) == (encoded_width(f),)
    back = contract_field(f, code)
    assert back[0] >= 0
    assert (back @ q).abs().item() == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(code, expand_field(f, -q))
    torch.testing.assert_close(code, expand_field(f, 3 * q))


@pytest.mark.parametrize("turn", [0.0, math.pi / 2, math.pi - 1e-4, math.pi])
@pytest.mark.parametrize("axis", np.vstack([np.eye(3), [[1, 1, 1], [1, -1, 0]]]))
def test_half_turns_come_back_too(turn: float, axis: np.ndarray) -> None:
    q = torch.tensor(
        [math.cos(turn / 2), *(math.sin(turn / 2) * axis / np.linalg.norm(axis))]
    ).float()
    f = Field((4,), kind="quaternion")
    assert (contract_field(f, expand_field(f, q)) @ q).abs().item() == pytest.approx(1, abs=1e-6)


def test_quaternion_columns_are_those_of_the_rotation_matrix() -> None:
    half = math.sqrt(0.5)  # a quarter turn about z takes x to y and y to -x
    code = expand_field(Field((4,), kind="quaternion"), torch.tensor([half, 0, 0, half]))
    torch.testing.assert_close(code, torch.tensor([0.0, 1, 0, -1, 0, 0]))


@settings(deadline=None, max_examples=200)
@given(st.lists(st.floats(-2, 2, width=32), min_size=6, max_size=6))
def test_any_six_numbers_give_a_rotation_and_any_two_an_angle(x: list[float]) -> None:
    q = contract_field(Field((4,), kind="quaternion"), torch.tensor(x))
    assert q.norm().item() == pytest.approx(1, abs=1e-5)
    assert contract_field(Field((3,), "rad", "angle"), torch.tensor(x)).isfinite().all()


def test_mixed_fields_come_back_in_order() -> None:
    data = mixed_data()
    normaliser = Normaliser.fit(MIXED, data, np.array([20]))
    action = torch.as_tensor(data["action"]).reshape(4, 5, 7)
    x = normaliser.encode_actions(action)
    assert x.shape == (4, 5, 2 + 2 + 6) and normaliser.action_size == 10
    torch.testing.assert_close(normaliser.decode_actions(x), action, rtol=0, atol=1e-5)
    observed = {
        k: torch.as_tensor(v).reshape(4, 5, *v.shape[1:]) for k, v in data.items() if k != "action"
    }
    code = normaliser.encode_states(observed)
    assert code.shape == (4, 5, 3 + 4 + 6) and normaliser.observation_size == 13
    assert code.abs().max() <= 1 + 1e-5


@pytest.mark.parametrize("shape", [(), (3,), (2, 2), (2, 1, 3)])
def test_fields_of_any_shape_are_laid_flat(shape: tuple[int, ...]) -> None:
    spec = Spec({"state": Field(shape)}, {"action": Field((1,))}, policy_hz=10)
    x = np.random.default_rng(0).normal(size=(6, *shape)).astype(np.float32)
    normaliser = Normaliser.fit(
        spec, {"state": x, "action": np.ones((6, 1), np.float32)}, np.array([6])
    )
    code = normaliser.encode_states({"state": torch.as_tensor(x).reshape(2, 3, *shape)})
    assert code.shape == (2, 3, math.prod(shape))
    assert (code.amin((0, 1)) == -1).all() and (code.amax((0, 1)) == 1).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["linear", "angle", "quaternion", "discrete"])
def test_codes_are_single_precision_whatever_comes_in(kind: str, dtype: torch.dtype) -> None:
    assert expand_field(Field((4,), kind=kind), torch.ones(4, dtype=dtype)).dtype == torch.float32


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("key", ["pose", "turn", "action"])
@pytest.mark.parametrize("frame", [0, 6])
@pytest.mark.parametrize("offset, episode", [(0, 0), (7, 1)])
def test_what_is_not_finite_is_refused_with_its_place(value, key, frame, offset, episode) -> None:
    data = mixed_data()
    data[key][frame + offset, -1] = value
    with pytest.raises(DataError, match=f"'{key}' .*episode {episode}, frame {frame}"):
        Normaliser.fit(MIXED, data, np.array([7, 20]))


@pytest.mark.parametrize("key, column", [("turn", slice(None)), ("action", slice(3, 7))])
def test_quaternions_of_zeros_are_refused_with_their_place(key: str, column: slice) -> None:
    data = mixed_data()
    data[key][9, column] = 0
    with pytest.raises(DataError, match=f"'{key}' .*episode 1, frame 2"):
        Normaliser.fit(MIXED, data, np.array([7, 20]))


def test_statistics_travel_inside_the_checkpoint(tmp_path) -> None:
    data = mixed_data()
    config = PolicyConfig(
        horizon=4,
        action_steps=2,
        net=UnetConfig(channels=(4,), kernel=3, groups=2, time_size=4, condition=4),
    )
    policy = Policy(MIXED, config, Normaliser.fit(MIXED, data, np.array([20])))
    save_policy(policy, tmp_path / "policy", {})
    loaded = load_policy(tmp_path / "policy").normaliser

    def statistics(n: Normaliser) -> dict[str, Tensor]:
        return dict(n.named_buffers())

    assert statistics(loaded).keys() == {
        f"{g}_{s}" for g in ("observation", "action") for s in ("low", "high")
    }
    assert all(
        torch.equal(v, statistics(policy.normaliser)[k]) for k, v in statistics(loaded).items()
    )
    actions = torch.as_tensor(data["action"])
    assert torch.equal(loaded.encode_actions(actions), policy.normaliser.encode_actions(actions))


def test_an_element_that_hardly_moves_is_not_blown_up():
    actions = np.array(
        [[0.0, 0.5], [1.0, 0.501]], np.float32
    )  # the second moves a thousandth of the first
    x = fitted(actions).encode_actions(torch.from_numpy(actions))
    assert x[:, 1].abs().max() == pytest.approx(0.05, abs=1e-4)


def test_observations_far_outside_only_say_outside():
    seen = np.array([[0.0], [1.0]], np.float32)
    spec = Spec({"x": Field((1,))}, {"a": Field((1,))}, 10)
    normaliser = Normaliser.fit(spec, {"x": seen, "action": seen}, np.array([2]))
    far = normaliser.encode_observations({"x": torch.tensor([[100.0], [-100.0], [1.2]])})
    assert far["x"].flatten().tolist() == pytest.approx([2.0, -2.0, 1.4])


def test_each_observation_is_normalised_by_itself_and_images_pass_by():
    data = mixed_data()
    spec = replace(
        MIXED, observations={"camera": Field((4, 6, 3), kind="image")} | dict(MIXED.observations)
    )
    normaliser = Normaliser.fit(spec, data, np.array([20]))
    observed = {key: torch.as_tensor(data[key]) for key in MIXED.observations}
    image = torch.randint(256, (20, 4, 6, 3), dtype=torch.uint8)
    found = normaliser.encode_observations({"camera": image, **observed})
    assert torch.equal(found["camera"], image)
    assert {key: x.shape[-1] for key, x in found.items()} == {
        "camera": 3,
        "pose": 3,
        "heading": 4,
        "turn": 6,
    }
    states = normaliser.encode_states({"camera": image, **observed})
    assert torch.equal(states, torch.cat([found[key] for key in MIXED.observations], -1))
    assert torch.equal(states, Normaliser.fit(MIXED, data, np.array([20])).encode_states(observed))


def test_statistics_do_not_depend_on_how_many_frames_are_looked_at_together(monkeypatch):
    data = mixed_data()
    whole = Normaliser.fit(MIXED, data, np.array([7, 20])).state_dict()
    monkeypatch.setattr(normaliser_module, "BLOCK", 3)
    parts = Normaliser.fit(MIXED, data, np.array([7, 20])).state_dict()
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
    data["pose"][17, 1] = math.nan
    with pytest.raises(DataError, match="'pose' is not finite in episode 1, frame 10"):
        Normaliser.fit(MIXED, data, np.array([7, 20]))
