"""`fewstep spec`: what an import could not know is shown, proposed and changed, in a store and in a policy."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from fewstep.demos.episode import Episode
from fewstep.demos.store import DemoStore
from fewstep.envs import Field, Spec, SpecError
from fewstep.envs.safety.limits import Limits
from fewstep.envs.spec_edits import edit_spec, propose_changes
from fewstep.policy.cli.main import main
from fewstep.policy.policy_folder import SHIPPED, load_spec

NAMES = ("pan", "lift")
IMPORTED = Spec(
    {"state": Field((2,), names=NAMES), "other": Field((2,), names=("x", "y"))},
    {"action": Field((2,), names=NAMES)},
    policy_hz=10,
)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store as an import makes it."""
    path = tmp_path / "demos"
    data = {key: np.zeros((20, 2), np.float32) for key in ("state", "other", "action")}
    with DemoStore.create(path, IMPORTED) as opened:
        opened.append(Episode({**data, "time": np.arange(20) / 10}, IMPORTED))
    return path


def test_what_names_suggest_is_proposed_and_its_command_does_it(store: Path, capsys) -> None:
    assert main(["spec", f"data={store}"]) == 0
    command = "set={actions: {action: {measured_by: state}}}"
    assert command in capsys.readouterr().out
    assert DemoStore.open(store).spec == IMPORTED, "showing changes nothing"
    assert main(["spec", f"data={store}", command]) == 0
    spec = DemoStore.open(store).spec
    assert spec.actions["action"].measured_by == "state" and not propose_changes(spec)
    assert "names suggest" not in capsys.readouterr().out


def test_a_dataset_gets_what_a_robot_needs_from_a_file(store: Path, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="nothing measures action"):
        Limits.of(IMPORTED)
    (tmp_path / "fields.yaml").write_text(
        "observations: {state: {unit: rad}}\n"
        "actions: {action: {unit: rad, measured_by: state, low: -1, high: [1, 2],"
        " velocity: 1, acceleration: 5}}\n"
    )
    assert main(["spec", f"data={store}", f"set={tmp_path}/fields.yaml"]) == 0
    spec = DemoStore.open(store).spec
    assert Limits.of(spec).high.tolist() == [1.0, 2.0]
    assert spec.states["state"].unit == "rad"
    assert DemoStore.open(store).episode(0).data["action"].shape == (20, 2)


@pytest.mark.parametrize(
    "changes, says",
    [
        ("{acts: {}}", "unknown group: acts; valid: actions, observations"),
        ("{actions: {acton: {}}}", "unknown field of actions: acton; valid: action"),
        ("{actions: {action: {colour: red}}}", "valid: acceleration, high, kind"),
        ("{actions: {action: {velocity: -1}}}", "velocity must be positive"),
        ("{actions: {action: {low: [1, 2, 3]}}}", "low has 3 elements, the field has 2"),
        ("{actions: {action: {measured_by: nothing}}}", "is no observation; valid: other, state"),
        ("{observations: {state: {kind: image}}}", "an image stays one"),
        ("3", "set must be a table"),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(
    store: Path, changes: str, says: str, capsys
) -> None:
    before = (store / "zarr.json").read_bytes()
    assert main(["spec", f"data={store}", f"set={changes}"]) in (1, 2)
    assert says in capsys.readouterr().err
    assert (store / "zarr.json").read_bytes() == before


def test_a_policy_takes_limits_and_keeps_what_it_has_learnt(tmp_path: Path, capsys) -> None:
    policy = tmp_path / "policy"
    shutil.copytree(SHIPPED / "pusht", policy)
    assert main(["spec", f"policy={policy}", "set={actions: {action: {velocity: 7}}}"]) == 0
    assert load_spec(policy).actions["action"].velocity == (7.0, 7.0)
    before = json.loads((policy / "policy.json").read_text())
    for change in ("unit: m", "kind: angle"):
        assert main(["spec", f"policy={policy}", f"set={{actions: {{action: {{{change}}}}}}}"]) == 1
        assert "the weights have learnt 'action'" in capsys.readouterr().err
    assert json.loads((policy / "policy.json").read_text()) == before
    assert main(["spec", "policy=pusht", "set={actions: {action: {velocity: 7}}}"]) == 1
    assert "comes with fewstep" in capsys.readouterr().err


def test_an_image_stays_one() -> None:
    spec = Spec({"eye": Field((4, 4, 3), kind="image")}, {"action": Field((1,))}, policy_hz=10)
    with pytest.raises(SpecError, match="an image stays one"):
        edit_spec(spec, {"observations": {"eye": {"kind": "linear"}}})


def test_one_of_store_and_policy_is_needed(capsys) -> None:
    assert main(["spec"]) == 2
    assert "either data=... or policy=..." in capsys.readouterr().err
