"""Exported policies: without torch they answer as the eager engine does."""

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from memory import at_most
from torch import Generator

from fewstep.envs import (
    CheckpointError,
    ConfigError,
    FewstepError,
    FewstepWarning,
    Field,
    Spec,
)
from fewstep.policy.checkpoint import load_policy, save_policy
from fewstep.policy.diffusion.samplers import Sampler
from fewstep.policy.engines import cpp, export
from fewstep.policy.engines.checking import (
    MOST_ERROR,
    ROUNDING,
    draw_question,
    measure_distance,
    measure_error,
)
from fewstep.policy.engines.eager import EagerEngine
from fewstep.policy.engines.export import export_policy
from fewstep.policy.engines.exported import hash_file
from fewstep.policy.engines.loading import load_engine
from fewstep.policy.networks.encoders.config import EncoderConfig, ImageConfig
from fewstep.policy.networks.temporal_unet import UnetConfig
from fewstep.policy.normaliser import Normaliser
from fewstep.policy.policy import Policy, PolicyConfig

LINEAR = Spec({"q": Field((3,), "rad")}, {"q": Field((3,), "rad", measured_by="q")}, 20)
MIXED = Spec(
    {
        "pose": Field((2,), "m"),
        "yaw": Field((1,), "rad", "angle"),
        "tilt": Field((4,), kind="quaternion"),
    },
    {
        "pose": Field((2,), "m", measured_by="pose"),
        "yaw": Field((1,), "rad", "angle", measured_by="yaw"),
        "grip": Field((1,), kind="discrete"),
    },
    20,
)
LOOKING = Spec(
    {"q": Field((2,), "rad")}
    | {c: Field((40, 48, 3), kind="image") for c in ("front", "wrist/left")},
    {"q": Field((2,), "rad")},
    20,
)
NET = UnetConfig(channels=(8, 16), kernel=3, groups=4, time_size=8, condition=16)
BASE = PolicyConfig(horizon=8, action_steps=4, net=NET)
LOOKS = replace(
    BASE, encoders=EncoderConfig(images=ImageConfig(side=40, frames=2, features=8, width=4))
)
CASES = {  # every setting of the network, the sampler and the objective that changes what is computed
    "plain": (LINEAR, BASE),
    "prefix": (LINEAR, replace(BASE, net=replace(NET, prefix=True))),
    "prefix as wide as the first level": (
        Spec({"q": Field((7,))}, {"q": Field((7,))}, 20),
        replace(BASE, net=replace(NET, prefix=True)),
    ),
    "one level": (LINEAR, replace(BASE, net=replace(NET, channels=(12,)))),
    "odd widths": (
        LINEAR,
        replace(BASE, net=replace(NET, channels=(6, 10, 14), groups=2, condition=19)),
    ),
    "four levels": (LINEAR, replace(BASE, horizon=24, net=replace(NET, channels=(4, 8, 8, 12)))),
    "kernel 1": (LINEAR, replace(BASE, net=replace(NET, kernel=1))),
    "kernel 7": (LINEAR, replace(BASE, horizon=20, net=replace(NET, kernel=7))),
    "one action": (Spec({"q": Field(())}, {"q": Field(())}, 20), BASE),
    "many actions": (Spec({"q": Field((26,))}, {"q": Field((26,))}, 20), BASE),
    "kinds of fields": (MIXED, replace(BASE, net=replace(NET, prefix=True))),
    "differences": (MIXED, replace(BASE, from_measured=True, net=replace(NET, prefix=True))),
    "one observation": (LINEAR, replace(BASE, observation_steps=1)),
    "preconditioned": (LINEAR, replace(BASE, precondition=True)),
    "regression": (LINEAR, replace(BASE, objective="regression")),
    "one step": (LINEAR, replace(BASE, objective="one_step")),
    "eps": (
        LINEAR,
        replace(BASE, objective="eps", path="cosine", sampler=Sampler("ddpm", 3, clip=1.0)),
    ),
    "x0, beta": (
        LINEAR,
        replace(BASE, objective="x0", path="beta", sampler=Sampler("ddpm", 3, noise=0.5)),
    ),
    "v": (LINEAR, replace(BASE, objective="v", sampler=Sampler("ddim", 3, clip=1.0))),
    "late start": (
        LINEAR,
        replace(BASE, objective="flow", sampler=Sampler(times=(0.9, 0.2, 0), start=0.5)),
    ),
    "two cameras": (LOOKING, LOOKS),
    "pictures alone": (
        Spec({"front": Field((40, 48, 3), kind="image")}, {"q": Field((2,))}, 20),
        replace(LOOKS, encoders=EncoderConfig(images=replace(LOOKS.encoders.images, frames=1))),
    ),
}
# Of policies of random weights: some angles are read from two numbers near 0, and eps at t = 1 is
# divided by 0.0005, so that rounding shows more than in a trained one.
MOST = 1e-3
WITH_COMPILER = pytest.mark.skipif(cpp.find_compiler() is None, reason="no C++ compiler here")


def write_policy(folder: Path, spec: Spec, config: PolicyConfig) -> Path:
    """Save a policy of random weights that has been fitted to random data."""
    rng = np.random.default_rng(0)
    data = {}
    for key, field in spec.states.items():
        data[key] = rng.normal(size=(30, *field.shape)).astype(np.float32)
    data["action"] = rng.normal(size=(30, spec.action_size)).astype(np.float32)
    normaliser = Normaliser.fit(spec, data, np.array([14, 30]), config.differences)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        policy = Policy(spec, config, normaliser)
        for parameter in policy.parameters():  # biases and gains begin at 0 and 1
            parameter.data += 0.05 * torch.randn_like(parameter)
    save_policy(policy, folder, {})
    return folder


# What is traced differs from what is trained in these alone; "differences" has a prefix too.
TRACED = ("differences", "preconditioned", "eps", "late start", "two cameras")


@pytest.mark.parametrize("case", TRACED)
def test_an_export_answers_as_eager_does(case: str, tmp_path: Path) -> None:
    folder = write_policy(tmp_path, *CASES[case])
    assert 0 < export_policy(folder).max_error < MOST
    policy = load_policy(folder)
    for engine in ("onnx", "openvino"):
        loaded = load_engine(folder, engine)
        error, rounding = measure_error(policy, policy.config.drawn_by, loaded, 100, seed=1)
        assert error <= max(MOST_ERROR, ROUNDING * rounding)


@WITH_COMPILER
@pytest.mark.parametrize("case", CASES)
def test_the_source_answers_as_eager_does(case: str, tmp_path: Path) -> None:
    folder = write_policy(tmp_path, *CASES[case])
    assert 0 < export_policy(folder, format="cpp").max_error < MOST


@WITH_COMPILER
@pytest.mark.parametrize("case", ["prefix", "kinds of fields", "preconditioned"])
def test_the_source_computes_the_same_on_arm(case: str, tmp_path: Path) -> None:
    compiler = shutil.which("aarch64-linux-gnu-g++")
    emulator = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
    if not compiler or not emulator:
        pytest.skip("needs g++-aarch64-linux-gnu and qemu-user-static")
    folder = write_policy(tmp_path, *CASES[case])
    export_policy(folder, format="cpp")
    policy = load_policy(folder)
    eager = EagerEngine(policy)
    question = draw_question(policy, eager, 20, Generator().manual_seed(0))
    (tmp_path / "main.cpp").write_text(MAIN)
    program = tmp_path / "chunk"
    files = [tmp_path / "main.cpp", tmp_path / "chunk.cpp"]
    flags = ["-std=c++17", "-O3", "-static", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([compiler, *flags, *files, "-o", program], check=True)
    rows = []
    for row in range(20):
        states = [question.obs[key][row].ravel() for key in policy.spec.states]
        prefix, length = np.zeros(0), 0
        if question.prefix:
            prefix, length = question.prefix[0][row], question.prefix[1][row]
        numbers = [*states, question.noise[:, row].ravel(), prefix.ravel()]
        rows.append(np.concatenate([[length], *numbers]).astype("<f4"))
    asked = np.stack(rows)
    sizes = [str(sum(state.size for state in states)), str(question.noise[:, 0].size)]
    sizes += [str(prefix.size), str(policy.config.horizon * policy.spec.action_size)]
    command = [emulator, program, tmp_path / "chunk.bin", *sizes]
    done = subprocess.run(command, input=asked.tobytes(), capture_output=True, check=True)
    found = np.frombuffer(done.stdout, "<f4").reshape(20, policy.config.horizon, -1)
    assert measure_distance(policy, found.copy(), question.ask(eager)) < MOST


MAIN = """
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "chunk.h"

int main(int, char** arguments) {
  fewstep_chunk* chunk = fewstep_chunk_open(arguments[1]);
  if (!chunk || fewstep_chunk_open("/dev/null")) return 1;
  const int observed = std::atoi(arguments[2]), noise = std::atoi(arguments[3]), promised = std::atoi(arguments[4]);
  std::vector<float> asked(1 + observed + noise + promised), actions(std::atoi(arguments[5]));
  while (std::fread(asked.data(), sizeof(float), asked.size(), stdin) == asked.size()) {
    const float *observation = &asked[1], *drawn = observation + observed, *prefix = drawn + noise;
    fewstep_chunk_predict(chunk, observation, drawn, promised ? prefix : nullptr, (int)asked[0], actions.data());
    std::fwrite(actions.data(), sizeof(float), actions.size(), stdout);
  }
  fewstep_chunk_close(chunk);
}
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy with its weights and an export beside them."""
    folder = write_policy(tmp_path_factory.mktemp("exported") / "run", *CASES["plain"])
    export_policy(folder)
    return folder


@pytest.fixture
def copy(exported: Path, tmp_path: Path) -> Path:
    """The same, to be damaged."""
    return shutil.copytree(exported, tmp_path / "run")


def edit(path: Path, **changes) -> None:
    """Change entries of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_an_export_works_without_the_weights(copy: Path) -> None:
    with_weights = load_engine(copy, "onnx")
    (copy / "model.safetensors").unlink()
    alone = load_engine(copy, "fastest")
    assert alone.name == "openvino" and alone.shape == with_weights.shape
    with pytest.raises(CheckpointError, match=r"model\.safetensors is missing"):
        load_engine(copy, "eager")


def test_another_number_of_evaluations_is_exported_into_the_cache(copy: Path) -> None:
    before = {path.name for path in copy.iterdir()}
    policy = load_policy(copy)
    sampler = policy.config.drawn_by.at(3)
    for _ in range(2):
        engine = load_engine(copy, "onnx", sampler)
        assert measure_error(policy, sampler, engine, 20)[0] < MOST_ERROR
    assert {path.name for path in copy.iterdir()} == before
    (copy / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="another sampler"):
        load_engine(copy, "onnx", sampler)


def test_exports_of_other_weights_are_refused(copy: Path) -> None:
    policy = load_policy(copy)
    policy.net.out.bias += 1
    save_policy(policy, copy, {})
    with pytest.raises(CheckpointError, match=r"chunk\.onnx\.json is of other weights"):
        load_engine(copy, "onnx")


def test_exports_of_another_description_are_refused(copy: Path) -> None:
    meta = json.loads((copy / "policy.json").read_text())
    edit(copy / "policy.json", config=meta["config"] | {"action_steps": 2})
    with pytest.raises(CheckpointError, match="is of another policy"):
        load_engine(copy, "onnx")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"version": 9}, "is not of version"),
        ({"steps": "two"}, "expected int"),
        ({"files": {}}, "does not list chunk.onnx"),
        ({"files": {"chunk.onnx": "0" * 64}}, "is damaged"),
        ({"files": {"chunk.onnx": "", "../policy.json": ""}}, "outside of its folder"),
    ],
)
def test_a_description_that_is_wrong_is_refused(copy: Path, changes, said: str) -> None:
    edit(copy / "chunk.onnx.json", **changes)
    with pytest.raises(FewstepError, match=said) as error:
        load_engine(copy, "onnx")
    assert str(copy) in str(error.value)


def test_a_graph_that_is_cut_off_is_refused(copy: Path) -> None:
    graph = copy / "chunk.onnx"
    graph.write_bytes(graph.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"chunk\.onnx is damaged"):
        load_engine(copy, "openvino")


@WITH_COMPILER
def test_weights_of_another_network_are_refused_by_the_source(tmp_path: Path) -> None:
    folder = write_policy(tmp_path, *CASES["plain"])
    export_policy(folder, format="cpp")
    weights = folder / "chunk.bin"
    weights.write_bytes(weights.read_bytes()[:-4])
    described = json.loads((folder / "chunk.cpp.json").read_text())
    edit(folder / "chunk.cpp.json", files=described["files"] | {"chunk.bin": hash_file(weights)})
    with pytest.raises(CheckpointError, match="does not belong to the policy"):
        load_engine(folder, "cpp")


@WITH_COMPILER
def test_no_source_of_a_folder_is_compiled(tmp_path: Path) -> None:
    folder = write_policy(tmp_path, *CASES["plain"])
    export_policy(folder, format="cpp")
    (folder / "chunk.cpp").write_text('#error "this was compiled"')
    described = json.loads((folder / "chunk.cpp.json").read_text())
    files = described["files"] | {"chunk.cpp": hash_file(folder / "chunk.cpp")}
    edit(folder / "chunk.cpp.json", files=files)
    assert load_engine(folder, "cpp").name == "cpp"


def test_an_export_that_is_off_is_not_written(copy: Path, monkeypatch) -> None:
    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    monkeypatch.setattr(export, "measure_error", lambda *given: (2e-5, 1e-7))
    with pytest.raises(CheckpointError, match="off by 2e-05"):
        export_policy(copy)
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before


def test_no_policy_is_exported_into_the_folder_of_another(copy: Path) -> None:
    other = write_policy(copy.parent / "other", LINEAR, replace(BASE, precondition=True))
    with pytest.raises(CheckpointError, match="is of another policy"):
        export_policy(copy, other)


def test_formats_and_quaternions_that_cannot_be_exported_are_refused(tmp_path: Path) -> None:
    spec = Spec({"q": Field((2,))}, {"turn": Field((4,), kind="quaternion")}, 20)
    folder = write_policy(tmp_path, spec, BASE)
    with pytest.raises(ConfigError, match="quaternions: export it as onnx"):
        export_policy(folder, format="cpp")
    with pytest.raises(ConfigError, match="unknown format of an export 'tar'; valid: cpp, onnx"):
        export_policy(folder, format="tar")


def test_a_prefix_is_refused_where_the_network_takes_none(exported: Path) -> None:
    engine = load_engine(exported, "onnx")
    obs = {"q": np.zeros((1, 2, 3), np.float32)}
    noise = np.zeros((1, 1, 8, 3), np.float32)
    with pytest.raises(ConfigError, match="takes no prefix"):
        engine.predict(obs, noise, np.zeros((1, 8, 3)), np.ones(1))
    with pytest.raises(ConfigError, match="come together"):
        engine.predict(obs, noise, np.zeros((1, 8, 3)))


@WITH_COMPILER
@pytest.mark.parametrize("name", ["cpp", "openvino", "onnx", "eager"])
def test_the_memory_does_not_grow_with_the_chunks(exported: Path, name: str) -> None:
    engine = load_engine(exported, name, threads=1)
    obs = {"q": np.zeros((1, 2, 3), np.float32)}
    arrays, horizon, width = engine.shape.noise
    noise = np.zeros((arrays, 1, horizon, width), np.float32)
    for _ in range(200):
        engine.predict(obs, noise)
    with at_most(megabytes=1.0):
        for _ in range(1000):
            engine.predict(obs, noise)


@WITH_COMPILER
@pytest.mark.filterwarnings("ignore")  # torch deprecates what its own compiler imports
def test_a_compiled_network_says_the_same(tmp_path: Path) -> None:
    folder = write_policy(tmp_path, *CASES["one level"])  # each layer takes seconds to compile
    policy = load_policy(folder)
    compiled = load_engine(folder, "compiled")
    assert measure_error(policy, policy.config.drawn_by, compiled, 5)[0] < MOST_ERROR


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"noises": 0}, "is of another policy than policy"),
        ({"steps": 0}, "is of another policy than policy"),
        ({"cameras": {"front": "chunk.onnx"}}, "is of another policy than policy"),
        ({"shape": {"horizon": 10**9}}, "unknown entry shape"),
        ({"horizon": "eight"}, r"config\.horizon: expected int"),
        ({"encoders": None}, "describes no policy"),
    ],
)
def test_a_description_that_fits_no_policy_is_refused(copy: Path, changes, said: str) -> None:
    config = json.loads((copy / "policy.json").read_text())["config"]
    if changes.keys() <= config.keys():
        changes = {"config": config | changes}
        edit(copy / "policy.json", **changes)
    edit(copy / "chunk.onnx.json", **changes)
    with pytest.raises(FewstepError, match=said) as error:
        load_engine(copy, "openvino")
    assert str(copy / "chunk.onnx.json") in str(error.value)


@pytest.mark.parametrize("described", ["[]", "{", ""])
def test_a_description_that_is_no_object_is_refused(copy: Path, described: str) -> None:
    (copy / "chunk.onnx.json").write_text(described)
    with pytest.raises(CheckpointError, match=r"chunk\.onnx\.json"):
        load_engine(copy, "onnx")


def test_fields_may_change_their_limits_and_nothing_that_is_computed(tmp_path: Path) -> None:
    folder = write_policy(tmp_path, MIXED, BASE)
    export_policy(folder)
    meta = json.loads((folder / "policy.json").read_text())
    spec = Spec.from_json(meta["spec"])
    limits = {"pose": replace(spec.actions["pose"], low=(-1.0, -1.0), high=(1.0, 1.0))}
    limited = replace(spec, actions=dict(spec.actions) | limits)
    edit(folder / "policy.json", spec=limited.to_json())
    assert load_engine(folder, "onnx").spec == limited
    turned = dict(reversed(spec.observations.items()))
    edit(folder / "policy.json", spec=replace(spec, observations=turned).to_json())
    with pytest.raises(CheckpointError, match="is of other fields than policy"):
        load_engine(folder, "onnx")


def test_a_folder_draws_its_chunks_in_one_way(copy: Path, tmp_path: Path) -> None:
    other = Sampler(times=(1.0, 0.0))
    with pytest.raises(ConfigError, match="draws its chunks in another way: choose another out="):
        export_policy(copy, sampler=other)
    shutil.copy(copy / "policy.json", tmp_path / "policy.json")
    export_policy(copy, tmp_path, sampler=other)
    with pytest.raises(ConfigError, match=r"chunk\.onnx\.json draws its chunks in another way"):
        export_policy(copy, tmp_path, format="cpp")


@WITH_COMPILER
def test_what_is_no_number_is_not_answered_by_one(tmp_path: Path) -> None:
    folder = write_policy(tmp_path, MIXED, BASE)
    for format in ("onnx", "cpp"):
        export_policy(folder, format=format)
    sound = {"pose": np.zeros((1, 2, 2)), "yaw": np.zeros((1, 2, 1)), "tilt": np.ones((1, 2, 4))}
    changes = (
        ({}, False),
        ({"pose": np.full((1, 2, 2), np.nan)}, True),
        ({"pose": np.full((1, 2, 2), np.inf)}, False),  # is clipped
        ({"yaw": np.full((1, 2, 1), np.inf)}, True),
        ({"tilt": np.zeros((1, 2, 4))}, True),
    )
    for name in ("eager", "onnx", "openvino", "cpp"):
        engine = load_engine(folder, name)
        noise = np.zeros((engine.shape.noise[0], 1, *engine.shape.noise[1:]), np.float32)
        for changed, is_unknown in changes:
            obs = {key: value.astype(np.float32) for key, value in (sound | changed).items()}
            assert np.isnan(engine.predict(obs, noise)).any() == is_unknown, (name, changed)


@WITH_COMPILER
def test_what_is_damaged_in_the_cache_is_made_anew(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = write_policy(tmp_path / "run", *CASES["plain"])
    sampler = load_policy(folder).config.drawn_by.at(3)
    for pattern in ("compiled/*.so", "compiled/*.sha256", "exports/*/chunk.bin"):
        load_engine(folder, "cpp", sampler)
        (found,) = (tmp_path / "cache" / "fewstep").glob(pattern)
        before = found.read_bytes()
        beside = found.with_name("beside")
        beside.write_bytes(before[: len(before) // 2])
        beside.replace(found)  # the process has the library open
        load_engine(folder, "cpp", sampler)
        assert found.stat().st_size == len(before)


@WITH_COMPILER
def test_the_fastest_engine_that_is_sound_is_taken(copy: Path) -> None:
    export_policy(copy, format="cpp")
    assert load_engine(copy, "fastest").name == "cpp"
    (copy / "chunk.bin").write_bytes(b"")
    with pytest.warns(FewstepWarning, match=r"the cpp engine is left out: .*chunk\.bin is damaged"):
        assert load_engine(copy, "fastest").name == "openvino"


@pytest.mark.parametrize(
    ("compiler", "said"),
    [
        ("false", "false cannot compile the policy's source: it says nothing"),
        ("true", "true has compiled nothing"),
        ("no-such-compiler", "CXX=no-such-compiler is no program here"),
    ],
)
def test_a_compiler_that_is_none_is_named(compiler: str, said: str, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CXX", compiler)
    with pytest.raises(ConfigError, match=said):
        cpp.compile_source("")


@WITH_COMPILER
def test_no_source_is_compiled_for_what_is_no_network(tmp_path: Path) -> None:
    folder = write_policy(tmp_path, *CASES["plain"])
    export_policy(folder, format="cpp")
    meta = json.loads((folder / "policy.json").read_text())
    for change in ({"groups": -1}, {"channels": []}, {"kernel": 2}, {"channels": [8, "x"]}):
        config = meta["config"] | {"net": meta["config"]["net"] | change}
        for name in ("policy.json", "chunk.cpp.json"):
            edit(folder / name, config=config)
        with pytest.raises(CheckpointError, match="describes no network"):
            load_engine(folder, "cpp")


def test_an_out_that_is_a_file_is_refused_before_the_work(copy: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FewstepError, match="could not write"):
        export_policy(copy, tmp_path / "file")
