"""The command line as a user meets it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from opengl import needs_opengl

from fewstep.demos.store import DemoStore
from fewstep.envs import ConfigError, DataError
from fewstep.policy.cli.command import load
from fewstep.policy.cli.demo import DemoSettings, spell_command
from fewstep.policy.cli.help import settings_of
from fewstep.policy.cli.main import main
from fewstep.policy.cli.overrides import settings_from
from fewstep.policy.cli.verbs import VERBS
from fewstep.policy.evaluation.statistics import wilson

TINY = (
    "model.net.channels=[8,16]",
    "model.net.groups=4",
    "model.net.condition=16",
    "batch=8",
    "log_every=5",
)


def settings_of_line(verb: str, overrides: list[str]):
    """Return what a verb would run with."""
    return settings_from(verb, load(verb).settings, overrides)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory) -> Path:
    """Demonstrations and a policy, made by the verbs themselves."""
    folder = tmp_path_factory.mktemp("workshop")
    assert main(["record", f"data={folder}/demos", "episodes=3"]) == 0
    assert (
        main(
            [
                "train",
                f"data={folder}/demos",
                f"out={folder}/run",
                "steps=12",
                "held_out=0.34",
                *TINY,
            ]
        )
        == 0
    )
    return folder


def test_overview_names_every_verb(capsys):
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert all(verb in shown for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_help_shows_every_key_with_its_meaning(verb, capsys):
    settings = list(settings_of(load(verb).settings))
    assert all(setting.meaning for setting in settings)
    assert main([verb, "--help"]) == 0
    shown = capsys.readouterr().out
    assert all(setting.key in shown for setting in settings)


@pytest.mark.parametrize("verb", VERBS)
def test_the_overview_says_what_the_verb_says_of_itself(verb):
    summary = (load(verb).settings.__doc__ or "").splitlines()[0]
    assert VERBS[verb] == summary


def test_help_shows_nested_keys_units_and_recipes(capsys):
    units = {setting.key: setting.unit for setting in settings_of(load("run").settings)}
    assert units["watchdog.ramp_seconds"] == "s" and units["threads"] == ""
    assert main(["train", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "model.net.channels" in shown and "pickplace" in shown and "required" in shown


def test_a_command_to_try_is_not_broken_into_lines(
    workshop: Path, tmp_path: Path, capsys, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "30")
    places = [f"data={workshop}/demos", f"out={tmp_path}/run"]
    assert main(["train", *places, "steps=1", "export=false", *TINY]) == 0
    assert f"try: fewstep evaluate policy={tmp_path}/run task=..." in capsys.readouterr().out


ENDING = """
import sys, threading, time
from fewstep.policy.cli import command, main
command.run_command = lambda *_: 130
threading.Thread(target=time.sleep, args=(60,)).start()
sys.argv = ["fewstep", "check"]
code = main.main()
print("ended", flush=True)
sys.exit(code)
"""


def test_ctrl_c_while_python_ends_shows_no_traceback():
    command = [sys.executable, "-c", ENDING]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "ended\n"
        process.send_signal(signal.SIGINT)
        assert "Traceback" not in process.communicate(timeout=30)[1]


def test_unknown_verb_lists_the_valid_ones(capsys):
    assert main(["fly"]) == 2
    assert (
        "evaluate, export, import, monitor, record, run, serve, spec, train"
        in capsys.readouterr().err
    )


def test_unknown_key_lists_the_valid_ones(capsys):
    assert main(["train", "data=x", "stesp=3"]) == 2
    assert "'stesp'" in (shown := capsys.readouterr().err) and "steps, batch, lr" in shown


def test_an_unknown_nested_key_lists_the_valid_ones_and_names_the_nearest(capsys):
    assert main(["train", "data=x", "model.net.channelz=[8]"]) == 2
    shown = capsys.readouterr().err
    assert "'model.net.channelz' (did you mean model.net.channels?)" in shown
    assert "model.net.kernel" in shown and "recipe" in shown


def test_dashes_are_no_part_of_a_key(capsys):
    assert main(["check", "--data=x"]) == 2
    assert "write data=x, without dashes" in capsys.readouterr().err


def test_options_of_a_robot_have_any_names():
    for override in ("options.port=7", "+options.port=7", "options={port: 7}"):
        assert settings_of_line("record", ["data=x", override]).options == {"port": 7}


def test_a_missing_library_names_the_extra_that_brings_it(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "fewstep.policy.cli.train", raising=False)
    assert main(["train", "data=x"]) == 1
    assert "needs torch, which is not installed: pip install 'fewstep[train]'" in (
        capsys.readouterr().err
    )


def test_no_bar_is_shown_before_an_error(tmp_path, capsys):
    assert main(["train", f"data={tmp_path}/nothing"]) == 1
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "wrong, says",
    [
        ("stesp=3", "'stesp'"),
        ("recipe=none", "pickplace, pickplace-pixels, pusht, pusht-pixels"),
        ("steps", "'steps'"),
    ],
)
def test_hydras_own_advice_is_left_out(wrong: str, says: str, capsys):
    assert main(["train", "data=x", wrong]) == 2
    shown = capsys.readouterr().err
    assert says in shown and not any(word in shown for word in ("+stesp", "pkg://", "hydra"))


def test_a_key_without_a_value_is_asked_for(capsys):
    assert main(["evaluate"]) == 2
    assert "needs policy=..." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([], "needs task=... or data=..."),
        (["task=pickplace", "data=demos"], "task= or data=, not both"),
        (["data=demos", "delay=2"], "without rollouts: leave out delay"),
        (["data=demos", "replay=e.json", "compare=e.json"], "leave out compare, replay"),
        (["data=demos", "task.options={x: 1}", "hz=5"], "leave out hz, task.options"),
        (["data=demos", "workers=2", "seconds=3"], "leave out seconds, workers"),
    ],
)
def test_what_an_evaluation_would_ignore_is_refused(given: list[str], says: str, capsys):
    assert main(["evaluate", "policy=pusht", *given]) == 2
    assert says in capsys.readouterr().err


def test_demonstrations_stand_in_for_a_task(workshop: Path, tmp_path: Path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    command = [f"policy={workshop}/run", f"data={workshop}/demos", f"out={tmp_path}/out"]
    assert main(["evaluate", *command]) == 0
    shown = capsys.readouterr().out
    for words in ("first 8 [%]", "all 16 [%]", "minus hold", "minus nearest", "largest errors"):
        assert words in shown
    assert "1 episode, " in shown and "held out: 1 of 3 episodes" in shown
    content = json.loads((tmp_path / "out" / "open_loop.json").read_text())
    assert [row["network_evaluations"] for row in content["results"]] == [1, 2, 3, 10]
    page = (tmp_path / "out" / "open_loop.html").read_text()
    assert f"fewstep evaluate {' '.join(command)}" in page


def test_an_evaluation_of_demonstrations_takes_a_sampler(workshop: Path, tmp_path: Path):
    command = [f"policy={workshop}/run", f"data={workshop}/demos", f"out={tmp_path}"]
    assert main(["evaluate", *command, "times=[1,.5,0]", "seed=3", "episodes=1"]) == 0
    content = json.loads((tmp_path / "open_loop.json").read_text())
    assert [row["sampler"]["times"] for row in content["results"]] == [[1, 0.5, 0]]
    assert content["seed"] == 3


def test_training_tells_the_error_on_held_out_episodes(workshop: Path):
    log = (workshop / "run" / "log.jsonl").read_text().splitlines()
    assert 0 < json.loads(log[-1])["held_out_error"] < 3


def test_a_wrong_type_names_the_key(capsys):
    assert main(["train", "data=x", "steps=many"]) == 2
    assert "steps: expected int, not 'many'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name",
    ["Größe ü", "demos (1)", "[a]", "a,b=c", "it's", 'say "hi"', "a\\'b\\", "5", "null", "~/x"],
)
def test_a_path_may_have_any_name(name):
    assert settings_of_line("check", [f"data={name}"]).data == name


def test_quotes_around_a_path_are_none_of_it():
    assert settings_of_line("check", ["data='a b'"]).data == "a b"


def test_what_refers_to_nothing_is_an_error_not_a_trace(capsys):
    assert main(["check", "data=${nothing}"]) == 2
    assert "'nothing' not found" in capsys.readouterr().err


def test_recipe_changes_only_what_it_names():
    plain = settings_of_line("train", ["data=x"])
    pusht = settings_of_line("train", ["data=x", "recipe=pusht", "seed=3"])
    assert (plain.held_out, pusht.held_out, pusht.seed, pusht.lr) == (0.04, 0.0, 3, plain.lr)


def test_sampler_follows_the_objective():
    c = settings_of_line("train", ["data=x", "model.objective=eps", "model.path=cosine"])
    assert (c.model.drawn_by.step, c.model.drawn_by.network_evaluations, c.model.drawn_by.clip) == (
        "ddpm",
        100,
        1.0,
    )


def test_unknown_names_list_the_valid_ones():
    with pytest.raises(
        ConfigError, match="valid: eps, flow, flow_atoms, one_step, regression, v, x0"
    ):
        settings_of_line("train", ["data=x", "model.objective=magic"])


def test_missing_store_is_an_error_not_a_trace(tmp_path, capsys):
    for verb in ("check", "train"):
        assert main([verb, f"data={tmp_path}/nothing"]) == 1
        assert f"{tmp_path}/nothing" in capsys.readouterr().err


def test_record_appends_fresh_starts(workshop, capsys):
    assert main(["check", f"data={workshop}/demos"]) == 0
    assert main(["record", f"data={workshop}/demos", "episodes=1"]) == 0
    store = DemoStore.open(workshop / "demos")
    starts = [tuple(store.episode(i).data["cube_position"][0]) for i in range(len(store))]
    assert len(set(starts)) == len(starts) >= 4
    assert store.provenance["task"] == "pickplace"


def test_a_store_goes_on_with_its_encoding_of_images(workshop, capsys):
    before = len(DemoStore.open(workshop / "demos"))
    for images, message in {
        "lossless": "keeps its images as jpeg",
        "png": "valid: jpeg, lossless",
    }.items():
        assert main(["record", f"data={workshop}/demos", "episodes=1", f"images={images}"]) == 2
        assert message in capsys.readouterr().err
    assert len(DemoStore.open(workshop / "demos")) == before


@needs_opengl
def test_record_keeps_what_cameras_see_whoever_acts(workshop, tmp_path):
    """The policy has been trained without cameras and goes by its states."""
    cameras = "cameras=[front,wrist]"
    assert main(["record", f"data={tmp_path}/expert", cameras, "episodes=1"]) == 0
    by_policy = [f"policy={workshop}/run", "failures=true", "seconds=1", "episodes=1"]
    assert main(["record", f"data={tmp_path}/policy", cameras, *by_policy]) == 0
    for name in ("expert", "policy"):
        store = DemoStore.open(tmp_path / name)
        assert (list(store.spec.images), store.images) == (["front", "wrist"], "jpeg")
        for camera in ("front", "wrist"):
            assert store.array(camera, 0, 5).std() > 20


def test_a_camera_that_the_task_lacks_is_refused(tmp_path, capsys):
    assert main(["record", f"data={tmp_path}/demos", "cameras=[side]"]) == 1
    assert "has no camera 'side'; valid: front, wrist" in capsys.readouterr().err
    assert not (tmp_path / "demos").exists()


def test_no_episodes_cannot_be_recorded(tmp_path, capsys):
    assert main(["record", f"data={tmp_path}/demos", "episodes=0"]) == 2
    assert "episodes must be at least 1, not 0" in capsys.readouterr().err
    assert not (tmp_path / "demos").exists()


def test_evaluate_writes_what_the_design_says(workshop, capsys):
    out = workshop / "evaluation"
    options = ["task=pickplace", "episodes=2", "seconds=0.5", "workers=1", f"out={out}"]
    assert main(["evaluate", f"policy={workshop}/run", "network_evaluations=[1,3]", *options]) == 0
    evaluation = json.loads((out / "evaluation.json").read_text())
    assert (evaluation["task"], evaluation["seed"]) == ("pickplace", 100_000)
    assert [r["network_evaluations"] for r in evaluation["results"]] == [1, 3]
    row = evaluation["results"][1]
    assert row["interval"] == list(wilson(row["successes"], 2))
    assert row["latency_ms"].keys() == {"p50", "p99", "max"}
    again = [f"compare={out}/evaluation.json", f"out={workshop}/again", "report=true"]
    assert (
        main(["evaluate", f"policy={workshop}/run", "network_evaluations=3", *options[:-1], *again])
        == 0
    )
    assert "undecided" in capsys.readouterr().out  # two episodes tell nothing
    page = (workshop / "again/report.html").read_text()
    assert "Planned and executed" in page and "fewstep evaluate" in page
    assert "past the post" not in page  # that belongs to the demo
    twin = json.loads((workshop / "again/evaluation.json").read_text())["results"][0]
    assert twin["rollouts"] == row["rollouts"]


def test_other_seeds_cannot_be_compared(workshop, capsys):
    out = workshop / "validation"
    options = ["task=pickplace", "seconds=0.1", "workers=1", f"policy={workshop}/run"]
    assert main(["evaluate", *options, "episodes=1", "seed=0", f"out={out}"]) == 0
    other = [f"compare={out}/evaluation.json", f"out={workshop}/other"]
    assert main(["evaluate", *options, "episodes=1", "seed=7", *other]) == 2
    assert "different seeds" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content", ["[" * 100_000, "{}", '{"results": []}', '{"results": [{}]}', '{"results": 5}', "x"]
)
@pytest.mark.parametrize("key", ["compare", "replay"])
def test_a_damaged_evaluation_is_an_error_not_a_trace(workshop, tmp_path, content, key, capsys):
    (tmp_path / "evaluation.json").write_text(content)
    options = ["task=pickplace", "seconds=0.1", "workers=1", "episodes=1", f"out={tmp_path}/out"]
    assert (
        main(["evaluate", f"policy={workshop}/run", f"{key}={tmp_path}/evaluation.json", *options])
        == 1
    )
    assert f"{tmp_path}/evaluation.json" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["check", "data=x", "hydra=1"],
        ["export", "recipe=1"],
        ["train", "data=x", "hydra=1"],
        ["check", "=", "@"],
    ],
)
def test_keys_that_confuse_hydra_are_an_error_not_a_trace(words, capsys):
    assert main(words) == 2
    assert f"keys of `fewstep {words[0]}`" in capsys.readouterr().err


def test_seeds_of_demonstrations_are_refused(workshop, capsys):
    assert main(["evaluate", f"policy={workshop}/run", "task=pickplace", "seed=10000"]) == 2
    assert "belong to demonstrations" in capsys.readouterr().err


def test_a_policy_of_another_robot_is_refused(workshop, capsys):
    pytest.importorskip("gym_pusht")
    assert (
        main(["evaluate", f"policy={workshop}/run", "task=pusht", "episodes=1", "workers=1"]) == 1
    )
    assert "observation 'joints' is missing" in capsys.readouterr().err


def test_bench_measures_the_textbook_beside(workshop):
    assert (
        main(
            [
                "bench",
                f"policy={workshop}/run",
                f"out={workshop}/bench",
                "calls=10",
                "engines=[onnx,eager]",
                "network_evaluations=[2]",
            ]
        )
        == 0
    )
    bench = json.loads((workshop / "bench/bench.json").read_text())
    assert [(r["engine"], r["network_evaluations"]) for r in bench["rows"]] == [
        ("onnx", 2),
        ("eager", 2),
        ("encoder", 0),
        ("textbook", 100),
    ]
    assert all(
        0 < r["min_ms"] <= r["median_ms"] <= r["p99_ms"] <= r["max_ms"] for r in bench["rows"]
    )
    assert (workshop / "bench/bench.png").read_bytes().startswith(b"\x89PNG")


def test_an_unknown_device_lists_the_valid_ones(tmp_path, capsys):
    assert main(["record", f"data={tmp_path}/demos", "teleop=joystick"]) == 1
    said = capsys.readouterr().err
    assert "teleop=joystick is no device (valid: gamepad, keyboard, page, spacemouse)" in said


def test_no_calls_cannot_be_measured(workshop, capsys):
    assert main(["bench", f"policy={workshop}/run", f"out={workshop}/none", "calls=0"]) == 2
    assert "must be at least 1" in capsys.readouterr().err


def test_record_shows_each_start_as_often_as_asked(tmp_path):
    assert main(["record", f"data={tmp_path}/demos", "episodes=4", "repeats=2"]) == 0
    store = DemoStore.open(tmp_path / "demos")
    paths = [store.episode(i).data["cube_position"] for i in range(4)]
    assert [bool((paths[i][0] == paths[i + 1][0]).all()) for i in range(3)] == [True, False, True]
    left = [path[np.argmax(path[:, 0] > 0.5), 1] > 0 for path in paths]
    assert left[0] != left[1] and left[2] != left[3]
    assert main(["record", f"data={tmp_path}/demos", "repeats=0"]) == 2


def test_a_full_disk_while_recording_keeps_what_was_there(workshop, tmp_path, monkeypatch, capsys):
    assert main(["record", f"data={tmp_path}/demos", "episodes=2"]) == 0

    def full(*_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    assert main(["record", f"data={tmp_path}/demos", "episodes=1"]) == 1
    assert "No space left on device" in capsys.readouterr().err
    monkeypatch.undo()
    assert len(DemoStore.open(tmp_path / "demos")) == 2


def test_an_empty_store_is_refused(tmp_path, workshop):
    spec = DemoStore.open(workshop / "demos").spec
    DemoStore.create(tmp_path / "empty", spec).close()
    assert main(["train", f"data={tmp_path}/empty", f"out={tmp_path}/run"]) == 1
    with pytest.raises(DataError):
        DemoStore.create(tmp_path / "empty", spec)


def test_the_demo_ends_in_a_report(tmp_path, monkeypatch):
    monkeypatch.setattr("fewstep.policy.evaluation.demo.NETWORK_EVALUATIONS", (1, 2))
    monkeypatch.setattr("fewstep.policy.evaluation.tune.GRIDS", ((1.0, 0.0), (1.0, 0.3, 0.0)))
    settings = ["demonstrations=2", "episodes=1", "steps=3", "workers=1"]
    assert main(["demo", f"out={tmp_path}", *settings]) == 0
    page = (tmp_path / "report.html").read_text()
    assert f"fewstep demo demonstrations=2 episodes=1 workers=1 steps=3 out={tmp_path}" in page
    assert (
        "network evaluations" in page and "unknown" in page
    )  # one episode has no interval of its score
    assert (tmp_path / "policy" / "chunk.onnx.json").is_file()  # it runs on a robot without torch


def test_the_demo_of_a_report_is_spelt_as_it_was_typed() -> None:
    assert spell_command(DemoSettings()) == "make demo"
    assert spell_command(DemoSettings(cameras=True, steps=3)) == "fewstep demo cameras=true steps=3"
