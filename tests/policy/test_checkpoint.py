import json
import math
import resource
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save

from fewstep.envs import CheckpointError, ConfigError, FewstepError, Field, Spec
from fewstep.envs import atomic_files as files
from fewstep.envs.schema import to_plain
from fewstep.policy import load_spec, policy_folder
from fewstep.policy.checkpoint import load_policy, require_match, save_policy
from fewstep.policy.diffusion.objectives import OBJECTIVES
from fewstep.policy.diffusion.samplers import Sampler
from fewstep.policy.networks.temporal_unet import UnetConfig
from fewstep.policy.normaliser import FARTHEST_ACTION, Normaliser
from fewstep.policy.policy import Policy, PolicyConfig
from fewstep.policy.policy_folder import META, MODEL, find_policy, read_meta

SPEC = Spec(
    {"pose": Field((2,), "m"), "turn": Field((1,), "rad", "angle")},
    {"reach": Field((2,), "m"), "grip": Field((1,), kind="discrete")},
    policy_hz=10.0,
)
NET = UnetConfig(channels=(4, 8), kernel=3, groups=2, time_size=4, condition=4, prefix=True)
CONFIG = PolicyConfig(horizon=4, action_steps=2, net=NET, sampler=Sampler(times=(1.0, 0.3, 0.0)))


def build(config: PolicyConfig = CONFIG) -> Policy:
    rng = np.random.default_rng(0)
    data = {
        "pose": rng.normal(size=(9, 2)),
        "turn": rng.normal(size=(9, 1)),
        "action": rng.normal(size=(9, 3)),
    }
    normaliser = Normaliser.fit(
        SPEC, {k: v.astype(np.float32) for k, v in data.items()}, np.array([9])
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Policy(SPEC, config, normaliser)


def history(rows: int = 3) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        k: torch.randn(rows, 2, *f.shape, generator=generator) for k, f in SPEC.observations.items()
    }


def chunk(policy: Policy, **promise) -> torch.Tensor:
    noise = torch.randn(
        policy.config.drawn_by.noises, 3, 4, 3, generator=torch.Generator().manual_seed(1)
    )
    return policy.act(history(), noise, **promise)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_policy(build(), tmp_path / "policy", {"data": "somewhere"})
    return tmp_path / "policy"


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_loaded_policy_acts_as_the_saved_one(objective: str, tmp_path: Path) -> None:
    policy = build(replace(CONFIG, objective=objective, sampler=None))
    save_policy(policy, tmp_path, {"data": "somewhere"})
    loaded = load_policy(tmp_path)
    assert torch.equal(chunk(loaded), chunk(policy))
    assert (loaded.spec, loaded.config) == (policy.spec, policy.config)
    assert read_meta(tmp_path)["provenance"] == {"data": "somewhere"}
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())


@pytest.mark.parametrize(("size", "preconditioned"), [(4, False), (5, True)])
def test_a_network_too_narrow_for_noise_is_preconditioned(size: int, preconditioned: bool) -> None:
    spec = Spec({"q": Field((1,))}, {"move": Field((size,))}, policy_hz=10)
    config = replace(CONFIG, net=replace(CONFIG.net, channels=(8, 16), groups=2))
    assert Policy(spec, config).config.precondition is preconditioned
    assert not Policy(spec, replace(config, precondition=False)).config.precondition


def test_a_description_from_before_preconditioning_has_none(tmp_path: Path) -> None:
    folder = tmp_path / "policy"
    save_policy(build(replace(CONFIG, precondition=True)), folder, {})
    assert load_policy(folder).config.precondition
    path = folder / META
    meta = json.loads(path.read_text())
    del meta["config"]["precondition"]
    path.write_text(json.dumps(meta))
    policy = load_policy(folder)
    assert not policy.config.precondition and not policy.denoiser().preconditioned


def test_loading_leaves_the_global_stream_alone(folder: Path) -> None:
    before = torch.random.get_rng_state()
    load_policy(folder)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_saving_again_writes_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    save_policy(load_policy(folder), tmp_path / "again", {"data": "somewhere"})
    for name in (MODEL, META):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_promised_actions_are_kept_exactly_even_beyond_the_demonstrated_range(folder: Path) -> None:
    policy = load_policy(folder)
    prefix = 50 * torch.randn(3, 4, 3, generator=torch.Generator().manual_seed(2))
    prefix_length = torch.tensor([0, 2, 4])
    out = chunk(policy, prefix=prefix, prefix_length=prefix_length)
    for row, n in enumerate(prefix_length):
        assert torch.equal(out[row, :n], prefix[row, :n])
    assert torch.equal(out[0], chunk(policy)[0])
    with pytest.raises(ConfigError, match="prefix_length"):
        chunk(policy, prefix=prefix)


def test_free_actions_stay_near_the_demonstrated_range(folder: Path) -> None:
    policy = load_policy(folder)
    noise = 1e3 * torch.randn(1, 3, 4, 3, generator=torch.Generator().manual_seed(1))
    out = policy.normaliser.encode_actions(policy.act(history(), noise))
    assert out.abs().max().item() == pytest.approx(FARTHEST_ACTION, abs=1e-4)


def test_another_sampler_changes_the_sampler_only(folder: Path) -> None:
    policy = load_policy(folder)
    other = policy.with_sampler(Sampler("ddpm", 3))
    assert other.config.drawn_by.noises == 3 and policy.config.drawn_by.noises == 1
    assert torch.equal(chunk(other.with_sampler(policy.config.drawn_by)), chunk(policy))


@pytest.mark.parametrize(
    "change, says",
    [
        ({"action_steps": 0}, "action_steps must lie between 1 and the horizon"),
        ({"action_steps": 5}, "action_steps must lie between 1 and the horizon"),
        ({"observation_steps": 0}, "observation_steps"),
        ({"objective": "flow", "path": "cosine"}, "'flow' is not defined on path 'cosine'"),
        ({"objective": "magic"}, "'magic'; valid: eps"),
        ({"objective": "eps", "path": "linear", "sampler": Sampler()}, "start the grid at 0.999"),
        ({"sampler": Sampler("euler")}, "'euler'; valid: ddim"),
        ({"sampler": Sampler(times=(1.0, 1.0, 0.0))}, "times must fall"),
    ],
)
def test_policies_that_could_not_act_cannot_be_described(change: dict, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        replace(CONFIG, **change)


@pytest.mark.parametrize("name, path", [(n, p) for n, o in OBJECTIVES.items() for p in o.paths])
def test_every_objective_has_a_sampler_that_serves_it(name: str, path: str) -> None:
    policy = build(replace(CONFIG, objective=name, path=path, sampler=None))
    if policy.config.drawn_by.cost > 100:
        policy = policy.with_sampler(policy.config.drawn_by.at(5))
    assert chunk(policy).isfinite().all()


def edit(folder: Path, **changes) -> None:
    """Set entries of policy.json, given as a__b__c=value."""
    meta = json.loads((folder / META).read_text())
    for key, value in changes.items():
        *path, last = key.split("__")
        inner = meta
        for part in path:
            inner = inner[part]
        inner[last] = value
    (folder / META).write_text(json.dumps(meta))


@pytest.mark.parametrize(
    "changes, says",
    [
        ({"format": "other"}, "no fewstep policy: its format must be 'fewstep-policy'"),
        ({"version": 2}, "version 2, this fewstep reads version 1"),
        ({"version": None}, "version None"),
        ({"config__colour": "red"}, "config: unknown entry colour; valid: .*horizon"),
        ({"config__horizon": "4"}, "config.horizon: expected int, not '4'"),
        ({"config__horizon": 3}, "horizon 3 must be a multiple of 2"),
        ({"config__action_steps": 9}, "action_steps must lie between"),
        ({"config__objective": "os.system"}, "unknown objective 'os.system'; valid: eps"),
        (
            {"config__encoders__states": "os.path"},
            "unknown encoder of states 'os.path'; valid: mlp",
        ),
        ({"config__path": "spiral"}, "unknown path 'spiral'; valid: beta"),
        ({"config__sampler__step": "euler"}, "unknown sampler 'euler'; valid: ddim"),
        ({"config__sampler__network_evaluations": 10**12}, "evaluations"),
        ({"config__sampler__times": [1, 2, 0]}, "times must fall"),
        ({"config__net__groups": 0}, "groups"),
        ({"spec__actions": {}}, "at least one action"),
        ({"spec__observations": {}}, "observation"),
        ({"spec__policy_hz": 0}, "policy_hz"),
    ],
)
def test_a_wrong_description_is_one_clear_error(folder: Path, changes: dict, says: str) -> None:
    edit(folder, **changes)
    with pytest.raises(CheckpointError, match=says) as caught:
        load_policy(folder)
    assert str(folder / META) in str(caught.value)


@pytest.mark.parametrize("key", ["spec", "config", "provenance", "format", "version"])
def test_a_missing_entry_is_named(folder: Path, key: str) -> None:
    meta = json.loads((folder / META).read_text())
    del meta[key]
    (folder / META).write_text(json.dumps(meta))
    with pytest.raises(CheckpointError, match=key):
        load_policy(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"config__net__channels": [10**9, 10**9]},
        {"config__net__channels": [4, 8 * 10**18]},
        {"config__net__channels": [4, 2 * 10**30]},
        {"config__net__channels": [4, 80_000]},
        {"config__net__condition": 10**9},
        {"config__net__condition": 10**25},
        {"config__net__time_size": 2 * 10**9},
        {"config__net__kernel": 10**9 + 1},
        {"config__observation_steps": 10**9},
        {"config__observation_steps": 10**40},
        {"spec__observations__pose__shape": [10**6, 10**6]},
        {"spec__actions__reach__shape": [10**10]},
        {"spec__actions__reach__shape": [10**10, 10**10]},
    ],
)
def test_sizes_are_compared_with_the_file_before_memory_is_taken(
    folder: Path, changes: dict
) -> None:
    edit(folder, **changes)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB
    with pytest.raises(CheckpointError):
        load_policy(folder)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 1024


def test_a_missing_file_is_named(folder: Path, tmp_path: Path) -> None:
    (folder / MODEL).unlink()
    with pytest.raises(CheckpointError, match=f"{MODEL} is missing"):
        load_policy(folder)
    for path in (tmp_path / "nowhere", folder / META):
        with pytest.raises(CheckpointError, match=f"holds no policy: {META} is missing"):
            load_policy(path)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b"[" * 100_000, b"9" * 10_000]
)
def test_a_description_that_is_no_json_table_is_refused(folder: Path, content: bytes) -> None:
    (folder / META).write_bytes(content)
    with pytest.raises(CheckpointError, match=META):
        load_policy(folder)


def rewrite(folder: Path, change) -> None:
    tensors = load((folder / MODEL).read_bytes())
    change(tensors)
    (folder / MODEL).write_bytes(save(tensors))


KEY = "net.out.weight"


@pytest.mark.parametrize(
    "change, says",
    [
        (lambda t: t.pop(KEY), f"missing tensors: {KEY}"),
        (lambda t: t.update(extra=torch.zeros(1)), "tensors that this policy has not: extra"),
        (
            lambda t: t.update({KEY: torch.zeros(1)}),
            rf"{KEY} is \(1,\) torch.float32, expected \(3, 4, 1\)",
        ),
        (
            lambda t: t.update({KEY: t[KEY].double()}),
            f"{KEY} is .* torch.float64, expected .* torch.float32",
        ),
        (lambda t: t.update({KEY: t[KEY].half()}), f"{KEY} is .* torch.float16"),
        (
            lambda t: t[KEY].__setitem__((0, 0, 0), math.nan),
            f"{KEY} holds numbers that are not finite",
        ),
        (
            lambda t: t[KEY].__setitem__((2, 3, 0), -math.inf),
            f"{KEY} holds numbers that are not finite",
        ),
        (
            lambda t: t["normaliser.action_low"].fill_(math.nan),
            "normaliser.action_low holds numbers",
        ),
    ],
)
def test_wrong_weights_are_one_clear_error(folder: Path, change, says: str) -> None:
    rewrite(folder, change)
    with pytest.raises(CheckpointError, match=says) as caught:
        load_policy(folder)
    assert str(folder / MODEL) in str(caught.value)


def test_a_robot_that_differs_is_refused_with_every_difference() -> None:
    policy = build()
    require_match(policy, SPEC)
    other = replace(SPEC, observations={"pose": Field((3,), "m")}, policy_hz=20)
    with pytest.raises(CheckpointError) as caught:
        require_match(policy, other)
    for part in (
        "shape is (3,), expected (2,)",
        "observation 'turn' is missing",
        "policy_hz is 20, expected 10",
    ):
        assert part in str(caught.value)


def test_a_full_disk_leaves_the_old_policy(folder: Path, monkeypatch) -> None:
    before = {name: (folder / name).read_bytes() for name in (MODEL, META)}

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(CheckpointError, match="No space left on device"):
        save_policy(build(replace(CONFIG, objective="x0")), folder, {})
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_a_place_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(FewstepError, match="taken"):
        save_policy(build(), tmp_path / "taken", {})
    assert (tmp_path / "taken").read_text() == "mine"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, bytes, bytes]]:
    """A folder to break, with the bytes of its two files when sound."""
    folder = tmp_path_factory.mktemp("broken")
    save_policy(build(), folder, {})
    yield folder, (folder / MODEL).read_bytes(), (folder / META).read_bytes()


def attempt(folder: Path, model: bytes, meta: bytes) -> None:
    """Loading either refuses the files or gives a policy with finite weights."""
    (folder / MODEL).write_bytes(model)
    (folder / META).write_bytes(meta)
    try:
        policy = load_policy(folder)
    except FewstepError:
        return
    assert all(p.isfinite().all() for p in policy.state_dict().values())


edits = st.lists(
    st.tuples(st.integers(0, 10**6), st.binary(max_size=3), st.integers(0, 3)),
    min_size=1,
    max_size=4,
)


def garble(content: bytes, changes: list[tuple[int, bytes, int]], end: int) -> bytes:
    """Put bytes in the place of others; most changes aim at the first `end` bytes."""
    for where, new, gone in changes:
        at = where % (end if where % 4 else len(content))
        content = content[:at] + new + content[at + gone :]
    return content


@settings(deadline=None, max_examples=150)
@given(changes=edits)
def test_garbled_weights_are_refused_or_read(sound, changes) -> None:
    folder, model, meta = sound
    attempt(folder, garble(model, changes, 8 + int.from_bytes(model[:8], "little")), meta)


@settings(deadline=None, max_examples=150)
@given(changes=edits)
def test_a_garbled_description_is_refused_or_read(sound, changes) -> None:
    folder, model, meta = sound
    attempt(folder, model, garble(meta, changes, len(meta)))


@settings(deadline=None, max_examples=60)
@given(share=st.floats(0, 1, exclude_max=True), which=st.sampled_from([MODEL, META]))
def test_truncated_files_are_refused(sound, share: float, which: str) -> None:
    folder, model, meta = sound
    (folder / MODEL).write_bytes(model[: int(share * len(model))] if which == MODEL else model)
    (folder / META).write_bytes(meta[: int(share * len(meta))] if which == META else meta)
    with pytest.raises(CheckpointError, match=which):
        load_policy(folder)


junk = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([0, -1, 3, 10**7, 10**18, 10**400])
    | st.floats()
    | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=5,
)


def places(value, path: tuple = ()) -> list[tuple]:
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [path, *(p for k, v in items for p in places(v, (*path, k)))]


@settings(deadline=None, max_examples=300)
@given(place=st.integers(0, 10**6), value=junk)
def test_no_entry_of_the_description_can_cause_anything_but_an_error_of_ours(
    sound, place: int, value
) -> None:
    folder, model, meta = sound
    content = json.loads(meta)
    spots = places(content)[1:]
    *path, last = spots[place % len(spots)]
    inner = content
    for part in path:
        inner = inner[part]
    inner[last] = value
    attempt(folder, model, json.dumps(content).encode())


# Policies that come with the package


def test_a_shipped_policy_goes_by_its_name(tmp_path, monkeypatch):
    policy = build()
    save_policy(policy, tmp_path / "shipped" / "arm", {})
    monkeypatch.setattr(policy_folder, "SHIPPED", tmp_path / "shipped")
    monkeypatch.chdir(tmp_path)
    assert load_policy("arm").config == policy.config
    with pytest.raises(CheckpointError, match=r"leg holds no policy.*brings along: arm"):
        load_policy("leg")
    (tmp_path / "arm").mkdir()  # no policy: the shipped one stays in reach
    assert find_policy("arm") == tmp_path / "shipped" / "arm"
    save_policy(policy, tmp_path / "arm", {})
    assert find_policy("arm") == Path("arm")


@pytest.mark.parametrize("name", [path.name for path in sorted(policy_folder.SHIPPED.iterdir())])
def test_what_comes_with_the_package_is_whole_small_and_of_no_machine(name: str):
    policy = load_policy(name)
    folder = policy_folder.SHIPPED / name
    assert policy.config.net.prefix and policy.config.drawn_by.cost <= 3
    assert load_spec(name) == load_spec(folder) == policy.spec
    assert read_meta(name)["config"] == json.loads(json.dumps(to_plain(policy.config)))
    assert sum(file.stat().st_size for file in folder.iterdir()) < 10e6
    card, meta = ((folder / file).read_text() for file in ("README.md", "policy.json"))
    assert (
        "licence" in card
        and "fewstep train" in card
        and "/" not in json.loads(meta)["provenance"]["data"]
    )
