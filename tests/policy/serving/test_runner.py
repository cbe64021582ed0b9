from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from fakes import FakeClock
from hypothesis import given, settings
from hypothesis import strategies as st

from fewstep.envs import ConfigError, Field, Spec, run_episode
from fewstep.envs.agent import Request
from fewstep.envs.chunk import Chunk
from fewstep.envs.robot import Obs
from fewstep.envs.schema import to_plain
from fewstep.envs.sim.registry import make_robot
from fewstep.policy.diffusion.samplers import Sampler
from fewstep.policy.engines.eager import EagerEngine
from fewstep.policy.engines.engine import describe_chunks
from fewstep.policy.networks.temporal_unet import UnetConfig
from fewstep.policy.policy import Policy, PolicyConfig
from fewstep.policy.serving.runners import DelayedRunner, InlineRunner, RequestBatch, make_agent

SIZE = 6  # of the batch
SPEC = Spec(
    {"pose": Field((3,), "m"), "turn": Field((1,), "rad", kind="angle")},
    {"pose": Field((3,), "m"), "turn": Field((1,), "rad", kind="angle")},
    policy_hz=10,
)
BOUNDED = replace(
    SPEC, actions=SPEC.actions | {"pose": Field((3,), "m", low=(-1.0,) * 3, high=(1.0,) * 3)}
)
NET = UnetConfig(channels=(16, 32), kernel=3, groups=4, time_size=16, condition=16)


def policy_for(spec: Spec, **config: Any) -> Policy:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        policy = Policy(spec, PolicyConfig(horizon=8, action_steps=4, net=NET, **config))
    return policy.eval().requires_grad_(False)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module", params=["flow_atoms", "v"])
def policy(request: pytest.FixtureRequest) -> Policy:
    sampler = Sampler("ddpm", 4, clip=1.0) if request.param == "v" else Sampler()
    return policy_for(SPEC, objective=request.param, sampler=sampler)


def request_for(i: int) -> Request:
    rng = np.random.default_rng(i)
    obs = {
        "pose": rng.normal(size=(2, 3)).astype(np.float32),
        "turn": rng.normal(size=(2, 1)).astype(np.float32),
    }
    return Request(i, obs, 1000 + i, 0.1 * i)


def ask(policy: Policy, asking: dict[int, Request]) -> dict[int, Chunk]:
    """The answers of one batch to requests at given places."""
    batch = RequestBatch(EagerEngine(policy), SIZE)
    places = {i: batch.place(i) for i in asking}
    for i, request in asking.items():
        places[i].submit(request)
    batch.flush()
    return {i: place.poll() for i, place in places.items()}  # pyright: ignore[reportReturnType]


def inline(policy: Policy, request: Request) -> Chunk:
    runner = InlineRunner(EagerEngine(policy))
    runner.submit(request)
    chunk = runner.poll()
    assert chunk
    return chunk


def test_a_chunk_belongs_to_its_request(policy: Policy) -> None:
    chunk = inline(policy, request_for(3))
    assert (chunk.episode, chunk.time, chunk.dt) == (3, pytest.approx(0.3), 0.1)
    assert chunk.actions.shape == (8, 4)
    assert isinstance(chunk.actions, np.ndarray)


def test_an_answer_is_given_once(policy: Policy) -> None:
    runner = InlineRunner(EagerEngine(policy))
    assert runner.poll() is None
    runner.submit(request_for(0))
    assert runner.poll()
    assert runner.poll() is None
    place = RequestBatch(EagerEngine(policy), SIZE).place(2)
    place.submit(request_for(0))
    place._batch.flush()
    assert place.poll()
    assert place.poll() is None


def test_the_same_request_has_the_same_answer_and_nothing_global_is_drawn(policy: Policy) -> None:
    before = torch.get_rng_state()
    first = inline(policy, request_for(1))
    torch.manual_seed(123)
    again = inline(policy, request_for(1))
    np.testing.assert_array_equal(first.actions, again.actions)
    torch.set_rng_state(before)
    inline(policy, request_for(1))
    assert torch.equal(torch.get_rng_state(), before)


def test_another_seed_and_another_observation_change_the_answer(policy: Policy) -> None:
    a = request_for(1)
    answers = [
        inline(policy, r).actions
        for r in (a, Request(1, a.obs, 7, a.time), Request(1, request_for(2).obs, a.seed, 0))
    ]
    assert np.abs(answers[0] - answers[1]).max() > 1e-2
    assert np.abs(answers[0] - answers[2]).max() > 1e-4


def test_a_batch_answers_each_as_if_alone(policy: Policy) -> None:
    requests = {i: request_for(i) for i in range(SIZE)}
    for i, chunk in ask(policy, requests).items():
        alone = inline(policy, requests[i])
        assert (chunk.episode, chunk.time, chunk.dt) == (alone.episode, alone.time, alone.dt)
        gap = np.abs(chunk.actions - alone.actions).max(0)
        assert (gap < [1e-5, 1e-5, 1e-5, 1e-4]).all(), (
            "rounding alone, which an angle near the origin magnifies"
        )


@settings(max_examples=15, deadline=None)
@given(
    others=st.dictionaries(st.integers(0, SIZE - 1), st.integers(10, 99)),
    place=st.integers(0, SIZE - 1),
)
def test_an_answer_is_exactly_the_same_whoever_else_asks(
    policy: Policy, others: dict[int, int], place: int
) -> None:
    mine = request_for(place)
    alone = ask(policy, {place: mine})[place]
    among = ask(policy, {i: request_for(r) for i, r in others.items()} | {place: mine})[place]
    np.testing.assert_array_equal(alone.actions, among.actions)


def test_flushing_for_one_keeps_the_answers_of_others(policy: Policy) -> None:
    batch = RequestBatch(EagerEngine(policy), SIZE)
    early, late = batch.place(0), batch.place(1)
    early.submit(request_for(0))
    batch.flush()
    late.submit(request_for(1))
    batch.flush()
    assert [p and p.episode for p in (early.poll(), late.poll())] == [0, 1]


def test_an_engine_of_single_rows_computes_none_that_nobody_asked_for(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = EagerEngine(policy)
    monkeypatch.setattr(EagerEngine, "batches", False)
    computed: list[int] = []
    predict = engine.predict

    def count(obs, noise, *prefix) -> np.ndarray:
        computed.append(noise.shape[1])
        return predict(obs, noise, *prefix)

    monkeypatch.setattr(engine, "predict", count)
    batch = RequestBatch(engine, SIZE)
    places = {i: batch.place(i) for i in (1, SIZE - 1)}
    for i, place in places.items():
        place.submit(request_for(i))
    batch.flush()
    batch.flush()
    assert computed == [2]
    for i, place in places.items():
        chunk = place.poll()
        assert chunk and chunk.episode == i


def test_a_place_stalls_from_its_request_to_the_flush(policy: Policy) -> None:
    batch = RequestBatch(EagerEngine(policy), SIZE)
    mine, other = batch.place(0), batch.place(1)
    assert not mine.stalls()
    mine.submit(request_for(0))
    assert (mine.stalls(), other.stalls(), mine.poll()) == (True, False, None)
    batch.flush()
    assert not mine.stalls()
    batch.flush()
    assert mine.poll(), "a flush that nobody waits for loses nothing"


def test_a_new_request_replaces_an_answer_that_nobody_took(policy: Policy) -> None:
    batch = RequestBatch(EagerEngine(policy), SIZE)
    place = batch.place(0)
    place.submit(request_for(0))
    batch.flush()
    place.submit(request_for(5))
    assert place.poll() is None
    batch.flush()
    chunk = place.poll()
    assert chunk
    assert chunk.episode == 5


# Delay


def test_a_delayed_answer_comes_exactly_when_it_is_due(policy: Policy) -> None:
    clock = FakeClock(0.3)
    runner = DelayedRunner(InlineRunner(EagerEngine(policy)), 0.2, clock)
    runner.submit(request_for(3))
    seen = []
    for tick in (3, 4, 5, 6):
        clock.time = tick / 10
        seen.append(runner.poll() is not None)
    assert seen == [False, False, True, False]


def test_a_delayed_batch_stalls_only_once_the_answer_is_due(policy: Policy) -> None:
    batch, clock = RequestBatch(EagerEngine(policy), SIZE), FakeClock()
    runner = DelayedRunner(batch.place(0), 0.2, clock)
    runner.submit(request_for(0))
    assert not runner.stalls()
    clock.time = 0.2
    assert (runner.poll(), runner.stalls()) == (None, True)
    batch.flush()
    assert not runner.stalls()
    assert runner.poll()


def waits(policy: Policy, seconds, jitter: float) -> list[float]:
    """How long the answers to 40 requests take, to a millisecond."""
    clock, found = FakeClock(), []
    runner = DelayedRunner(InlineRunner(EagerEngine(policy)), seconds, clock, jitter)
    for i in range(40):
        request = request_for(i)
        runner.submit(request)
        clock.time = request.time
        while runner.poll() is None:
            clock.time += 0.001
        found.append(round(clock.time - request.time, 3))
    return found


def test_latencies_are_drawn_from_the_recorded_ones_and_jittered(policy: Policy) -> None:
    recorded = waits(policy, [0.05, 0.2], 0.0)
    assert set(recorded) == {0.05, 0.2}
    jittered = waits(policy, 0.1, 0.05)
    assert min(jittered) >= 0.1
    assert max(jittered) <= 0.15
    assert len(set(jittered)) > 20
    assert waits(policy, 0.1, 0.05) == jittered, "the seed of the request decides"


def actions(policy: Policy, delay: float | None) -> np.ndarray:
    robot = make_robot("fakes:Point-v0")
    runner = (
        InlineRunner(EagerEngine(policy))
        if delay is None
        else DelayedRunner(InlineRunner(EagerEngine(policy)), delay, robot.clock)
    )
    steps = run_episode(robot, make_agent(EagerEngine(policy), runner), seed=1, max_seconds=1.5)
    return np.array([step.sent for step in steps if step])


def test_no_delay_is_as_if_there_were_no_delay() -> None:
    point = policy_for(make_robot("fakes:Point-v0").spec)
    prompt = actions(point, None)
    np.testing.assert_array_equal(actions(point, 0.0), prompt)
    late = actions(point, 0.2)
    assert not late[:2].any(), "nothing to do yet"
    np.testing.assert_array_equal(late[2], prompt[2]), "the same chunk, for the world has not moved"
    assert not np.array_equal(late, prompt)


def test_promised_actions_begin_the_chunk_and_leave_the_rest_of_the_batch_alone() -> None:
    policy = policy_for(SPEC)
    policy = (
        Policy(SPEC, replace(policy.config, net=replace(NET, prefix=True)))
        .eval()
        .requires_grad_(False)
    )
    free, bound = request_for(1), request_for(2)
    prefix = np.random.default_rng(0).normal(size=(3, SPEC.action_size)).astype(np.float32)
    chunks = ask(policy, {1: free, 2: replace(bound, prefix=prefix)})
    np.testing.assert_allclose(chunks[2].actions[:3], prefix, atol=1e-5)
    assert np.abs(chunks[2].actions - inline(policy, bound).actions)[:3].max() > 0.01
    np.testing.assert_allclose(chunks[1].actions, inline(policy, free).actions, atol=1e-5)
    runner = InlineRunner(EagerEngine(policy))
    assert make_agent(EagerEngine(policy), runner)._prefix_length == 4
    assert make_agent(EagerEngine(policy_for(SPEC)), runner)._prefix_length == 0


def test_a_policy_says_how_early_its_actions_are_sent() -> None:
    engine = EagerEngine(policy_for(SPEC, actuation_delay=0.2))
    agent = make_agent(engine, InlineRunner(engine))
    agent.reset(0)
    command = agent.act(Obs(0.0, {"pose": np.zeros(3), "turn": np.zeros(1)}, {}))
    assert agent.chunk is not None and command is not None and command.action is not None
    np.testing.assert_allclose(command.action, agent.chunk.actions[2], atol=1e-5)


@pytest.mark.parametrize("on_delay, averages", [("", True), ("switch", True), ("hold", False)])
def test_a_policy_says_within_what_its_chunks_are_averaged(on_delay: str, averages: bool) -> None:
    engine = EagerEngine(policy_for(BOUNDED, agreement=1.0))
    made: list[Chunk] = []

    class Seen(InlineRunner):
        def poll(self) -> Chunk | None:
            chunk = super().poll()
            made.extend([chunk] if chunk else [])
            return chunk

    agent = make_agent(engine, Seen(engine), on_delay)
    agent.reset(0)
    for k in range(5):  # of which the last asks again
        agent.act(Obs(k / 10, {"pose": np.zeros(3), "turn": np.zeros(1)}, {}))
    assert agent.chunk is not None and len(made) == 2
    far = np.abs(agent.chunk.actions - made[-1].actions)
    assert bool(far[:4, :3].max() > 0.01) is averages and far[4:].max() == 0


def test_a_policy_that_averages_needs_the_ranges_of_its_actions() -> None:
    with pytest.raises(ConfigError, match="give pose a low and a high"):
        policy_for(SPEC, agreement=0.05)


def test_policies_of_before_send_nothing_early_and_average_nothing() -> None:
    config = to_plain(policy_for(BOUNDED, actuation_delay=0.2, agreement=0.05).config)
    described = describe_chunks(config, SPEC, 1)
    assert (described.actuation_delay, described.agreement) == (0.2, 0.05)
    del config["actuation_delay"], config["agreement"]
    described = describe_chunks(config, SPEC, 1)
    assert (described.actuation_delay, described.agreement) == (0.0, 0.0)


@pytest.mark.parametrize(
    "seconds, message",
    [
        (-0.1, "actuation_delay must be seconds, 0 or more, not -0.1"),
        (float("nan"), "actuation_delay must be seconds"),
        (0.5, "actuation_delay=0.5 is too long: 4 of 8 actions run at 10 Hz.* at most 0.4 s"),
    ],
)
def test_nothing_is_sent_so_early_that_a_chunk_ends(seconds: float, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        policy_for(SPEC, actuation_delay=seconds)


@pytest.mark.parametrize("on_delay, prefix", [("prefix", False), ("never", True)])
def test_what_a_policy_cannot_do_while_late_is_refused(on_delay: str, prefix: bool) -> None:
    policy = Policy(SPEC, PolicyConfig(horizon=8, action_steps=4, net=replace(NET, prefix=prefix)))
    with pytest.raises(
        ConfigError, match=f"on_delay='{on_delay}' is not for this policy; valid: .*hold,.*switch"
    ):
        make_agent(EagerEngine(policy), InlineRunner(EagerEngine(policy)), on_delay)
