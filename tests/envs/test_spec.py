import json
import math
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewstep.envs import ConfigError, FewstepError, Field, Spec, SpecError, incompatibilities
from fewstep.envs.schema import from_plain, to_plain
from fewstep.envs.spec import KINDS

ARM = Spec(
    {
        "joints": Field((2,), "rad", names=("base", "elbow")),
        "camera": Field((4, 6, 3), kind="image"),
        "tool": Field((4,), kind="quaternion"),
    },
    {
        "joints": Field(
            (2,),
            "rad",
            low=(-1, -2),
            high=(1, 2),
            measured_by="joints",
            velocity=(1, 1),
            acceleration=(9, 9),
        ),
        "grip": Field((1,), kind="discrete"),
    },
    policy_hz=10,
    command_hz=100,
)


def spec(**action) -> Spec:
    return Spec({"q": Field((2,))}, {"a": Field(**{"shape": (2,)} | action)}, policy_hz=10)


@pytest.mark.parametrize(
    "wrong, says",
    [
        ({"kind": "circle"}, "'a'.*'circle'; valid: angle, discrete, image, linear, quaternion"),
        ({"kind": "quaternion"}, r"'a'.*\(4,\), not \(2,\)"),
        ({"kind": "image"}, "'a'.*image"),
        ({"kind": "image", "shape": (4, 4, 1)}, "'a'.*image"),
        ({"shape": (-2,)}, "'a'.*shape"),
        ({"shape": (2, 0)}, "'a' needs elements"),
        ({"shape": (2, -1)}, "'a'.*shape"),
        ({"names": ("x",)}, "'a': names has 1 elements, the field has 2"),
        ({"low": (0.0,)}, "'a': low has 1"),
        ({"high": (0.0,) * 3}, "'a': high has 3"),
        ({"velocity": (1.0,)}, "'a': velocity has 1"),
        ({"acceleration": (1.0,)}, "'a': acceleration has 1"),
        ({"low": (0.0, 2.0), "high": (1.0, 1.0)}, "'a': low is above high"),
        ({"low": (0.0, math.nan)}, "'a': low"),
        ({"high": (math.nan, 0.0)}, "'a': high"),
        ({"velocity": (1.0, math.nan)}, "'a': velocity"),
        ({"velocity": (1.0, -1.0)}, "'a': velocity"),
        ({"acceleration": (0.0, 1.0)}, "'a': acceleration"),
        ({"measured_by": "p"}, "'a' is measured by 'p', which is no observation; valid: q"),
        ({"measured_by": "q", "shape": (3,)}, "'a'.*measured by 'q'"),
    ],
)
def test_fields_that_contradict_themselves_are_refused_by_name(wrong: dict, says: str) -> None:
    with pytest.raises(SpecError, match=says):
        spec(**wrong)


def test_observations_are_checked_also_where_an_action_has_their_name() -> None:
    with pytest.raises(SpecError, match=r"'a'.*'circle'"):
        Spec({"a": Field((2,), kind="circle")}, {"a": Field((2,))}, policy_hz=10)


def test_actions_are_no_pictures() -> None:
    with pytest.raises(SpecError, match=r"'a'.*image"):
        spec(kind="image", shape=(4, 4, 3))


@pytest.mark.parametrize("name", ["policy_hz", "command_hz"])
@pytest.mark.parametrize("hz", [-1.0, math.nan, math.inf])
def test_rates_are_positive_numbers(name: str, hz: float) -> None:
    with pytest.raises(SpecError, match=name):
        replace(ARM, **{name: hz})
    with pytest.raises(SpecError, match="policy_hz"):
        replace(ARM, policy_hz=0.0)


def test_a_spec_without_actions_is_refused() -> None:
    with pytest.raises(SpecError, match="at least one action"):
        Spec({"q": Field((2,))}, {}, policy_hz=10)


def test_commands_go_out_at_the_policys_rate_unless_told_otherwise() -> None:
    assert spec().command_hz == 10 and ARM.command_hz == 100


def test_action_fields_lie_end_to_end() -> None:
    assert ARM.action_size == 3
    assert ARM.slices() == {"joints": slice(0, 2), "grip": slice(2, 3)}
    low, high = ARM.bounds()
    assert low.tolist() == [-1, -2, -np.inf] and high.tolist() == [1, 2, np.inf]
    assert low.dtype == high.dtype == np.float32
    assert ARM.discrete_mask().tolist() == [False, False, True]


@pytest.mark.parametrize(
    "shape, size", [((), 1), ((3,), 3), ((2, 5), 10), ((10**10, 10**10), 10**20)]
)
def test_size_is_the_product_of_the_shape(shape: tuple[int, ...], size: int) -> None:
    assert Field(shape).size == size


limits = st.lists(st.floats(allow_nan=False), min_size=3, max_size=3)


@st.composite
def fields(draw: st.DrawFn) -> Field:
    low, high = (tuple(x) for x in zip(*(sorted(draw(limits)[:2]) for _ in range(3)), strict=True))
    return Field(
        (3,),
        draw(st.text(max_size=3)),
        draw(st.sampled_from(["linear", "angle", "discrete"])),
        draw(st.sampled_from([(), ("x", "y", "z")])),
        draw(st.sampled_from([(), low])),
        draw(st.sampled_from([(), high])),
        velocity=draw(st.sampled_from([(), (1.5, 2.0, math.inf)])),
    )


@settings(deadline=None)
@given(
    st.dictionaries(st.text(max_size=4), fields(), max_size=3),
    st.dictionaries(st.text(max_size=4), fields(), min_size=1, max_size=3),
    st.floats(0.1, 1e4),
)
def test_specs_come_back_from_json(
    observations: dict[str, Field], actions: dict[str, Field], hz: float
) -> None:
    ours = Spec(observations, actions, policy_hz=hz)
    theirs = Spec.from_json(json.loads(json.dumps(ours.to_json())))
    assert theirs == ours and list(theirs.actions) == list(ours.actions)
    assert incompatibilities(ours, theirs) == []


def test_integers_in_json_become_numbers_of_the_declared_kind() -> None:
    back = Spec.from_json(json.loads(json.dumps(ARM.to_json())))
    assert back == ARM
    assert all(type(x) is float for x in back.actions["joints"].low)


def changed(key: str, value) -> dict:
    out = json.loads(json.dumps(ARM.to_json()))
    *path, last = key.split("/")
    inner = out
    for part in path:
        inner = inner[part]
    if value is KeyError:
        del inner[last]
    else:
        inner[last] = value
    return out


@pytest.mark.parametrize(
    "key, value, says",
    [
        ("actions", KeyError, "actions"),
        ("actions", [1], "Spec"),
        ("actions", {}, "at least one action"),
        ("observations", None, "Spec"),
        ("policy_hz", KeyError, "policy_hz"),
        ("policy_hz", "fast", "fast"),
        pytest.param("policy_hz", 10**400, "Spec", id="huge rate"),
        ("command_hz", None, "Spec"),
        ("actions/grip", 3, "grip: expected a table"),
        ("actions/grip/colour", "red", "grip: unknown entry colour; valid: .*shape"),
        ("actions/grip/shape", KeyError, "shape"),
        ("actions/grip/shape", 1, "grip.shape: expected a list, not 1"),
        ("actions/grip/shape", [True], "grip.shape: expected int, not True"),
        ("actions/grip/shape", [1.0], "grip.shape: expected int, not 1.0"),
        ("actions/grip/kind", 1, "grip.kind: expected str, not 1"),
        ("actions/joints/low", ["a", 1], "joints.low: expected float, not 'a'"),
        ("actions/joints/low", [-(10**400), 1], "joints.low"),
    ],
)
def test_json_that_is_no_spec_is_refused_where_it_goes_wrong(key: str, value, says: str) -> None:
    with pytest.raises(SpecError, match=says):
        Spec.from_json(changed(key, value))


@pytest.mark.parametrize("data", [None, 3, "spec", [], [1, 2], {}])
def test_json_of_another_kind_is_refused(data) -> None:
    with pytest.raises(SpecError, match="not a Spec"):
        Spec.from_json(data)


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)
places = st.sampled_from(
    [
        f"{group}/joints/{part}"
        for group in ("observations", "actions")
        for part in ARM.to_json()["actions"]["joints"]
    ]
    + ["policy_hz", "command_hz", "actions", "observations", "actions/grip"]
)


@settings(deadline=None, max_examples=200)
@given(places, junk)
def test_no_entry_of_a_spec_can_cause_anything_but_a_spec_error(key: str, value) -> None:
    try:
        found = Spec.from_json(changed(key, value))
    except SpecError:
        return
    assert found.policy_hz > 0 and all(f.kind in KINDS for f in found.actions.values())


def test_the_same_robot_differs_in_nothing() -> None:
    assert incompatibilities(ARM, ARM) == []
    renamed = replace(
        ARM.actions["joints"], names=("a", "b"), low=(-3, -3), high=(3, 3), velocity=()
    )
    assert (
        incompatibilities(
            ARM, replace(ARM, actions={**ARM.actions, "joints": renamed}, command_hz=50)
        )
        == []
    )
    assert (
        incompatibilities(
            ARM, replace(ARM, observations={**ARM.observations, "force": Field((3,), "N")})
        )
        == []
    )


def without(table: dict, key: str) -> dict:
    return {k: v for k, v in table.items() if k != key}


@pytest.mark.parametrize(
    "theirs, sentences",
    [
        (
            replace(ARM, observations=without(ARM.observations, "tool")),
            ["observation 'tool' is missing"],
        ),
        (replace(ARM, actions=without(ARM.actions, "grip")), ["action 'grip' is missing"]),
        (
            replace(ARM, actions={**ARM.actions, "lift": Field((1,))}),
            ["action 'lift' is not expected"],
        ),
        (replace(ARM, policy_hz=20), ["policy_hz is 20, expected 10"]),
        (
            replace(ARM, actions=dict(reversed(ARM.actions.items()))),
            ["the order of actions is ['grip', 'joints'], expected ['joints', 'grip']"],
        ),
        (
            replace(
                ARM,
                observations={**ARM.observations, "joints": Field((3,), "deg", "angle")},
                actions={"grip": Field((1,))},
            ),
            [
                "observation 'joints': shape is (3,), expected (2,)",
                "observation 'joints': unit is deg, expected rad",
                "observation 'joints': kind is angle, expected linear",
                "action 'joints' is missing",
                "action 'grip': kind is linear, expected discrete",
            ],
        ),
    ],
)
def test_each_difference_is_one_sentence(theirs: Spec, sentences: list[str]) -> None:
    assert incompatibilities(ARM, theirs) == sentences


@dataclass(frozen=True)
class Inner:
    sizes: tuple[int, ...] = (1, 2)
    rate: float = 0.5


@dataclass(frozen=True)
class Outer:
    name: str
    inner: Inner = field(default_factory=Inner)
    maybe: Inner | None = None
    on: bool = False


@given(
    st.builds(
        Outer,
        st.text(),
        st.builds(Inner),
        st.none() | st.builds(Inner, rate=st.floats(allow_nan=False)),
        st.booleans(),
    )
)
def test_dataclasses_come_back_from_plain_values(value: Outer) -> None:
    assert from_plain(Outer, json.loads(json.dumps(to_plain(value)))) == value


@pytest.mark.parametrize(
    "data, says",
    [
        (3, "Outer: expected a table, not 3"),
        ({}, "Outer lacks name"),
        ({"name": "a", "title": 1}, "Outer: unknown entry title; valid: inner, maybe, name, on"),
        ({"name": 1}, "name: expected str, not 1"),
        ({"name": "a", "on": 1}, "on: expected bool, not 1"),
        ({"name": "a", "inner": {"rate": True}}, "inner.rate: expected float, not True"),
        ({"name": "a", "inner": None}, "inner: expected a table, not None"),
        ({"name": "a", "maybe": {"sizes": "12"}}, "maybe.sizes: expected a list, not '12'"),
        ({"name": "a", "maybe": {"sizes": [1.5]}}, "maybe.sizes: expected int, not 1.5"),
        ({"name": "a", "inner": {"rate": 10**400}}, "inner.rate"),
    ],
)
def test_plain_values_that_do_not_fit_are_refused_where_they_stand(data, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        from_plain(Outer, data)


def test_every_error_is_of_one_family() -> None:
    assert issubclass(SpecError, FewstepError) and issubclass(ConfigError, FewstepError)
