"""Whether every engine answers as eager does: on recorded observations, and in what its episodes come to.

python tests/benchmarks/same_answers.py POLICY TASK DEMOS [episodes [first seed]]

The error is the largest distance of an action from eager's, as a share of its range, over 1,000 recorded observations; what the
episodes come to is paired on the same starts.
"""

import sys
from dataclasses import replace

import numpy as np
import torch

from fewstep.policy.checkpoint import load_policy
from fewstep.policy.engines.checking import Question, measure_distance
from fewstep.policy.engines.eager import EagerEngine
from fewstep.policy.engines.engine import Engine
from fewstep.policy.engines.loading import engines_here, load_engine
from fewstep.policy.evaluation.job import Job
from fewstep.policy.evaluation.rollouts import roll_out_all
from fewstep.policy.evaluation.statistics import paired_success, wilson
from fewstep.policy.policy import Policy
from fewstep.policy.policy_folder import find_policy
from fewstep.policy.training.dataset import read_dataset

OBSERVATIONS, TOGETHER = 1000, 50
FIRST_SEED = 100_000  # of test starts


def main() -> None:
    """Measure and print."""
    name, task, data, *rest = sys.argv[1:]
    episodes = int(rest[0]) if rest else 500
    first = int(rest[1]) if rest[1:] else FIRST_SEED
    seeds = tuple(range(first, first + episodes))
    torch.set_num_threads(1)
    policy = load_policy(name)
    engines = [
        "eager",
        *(engine for engine in engines_here(find_policy(name)) if engine != "eager"),
    ]
    questions = recorded_questions(policy, data)
    job = Job(name, task, policy.config.drawn_by, seeds)
    reached: dict[str, np.ndarray] = {}
    print("| engine | error | success | minus eager | score |\n|---|---|---|---|---|")
    for engine in engines:
        error = largest_error(policy, load_engine(name, engine), questions)
        rollouts = roll_out_all(replace(job, engine=engine))
        reached[engine] = np.array([bool(rollout.success) for rollout in rollouts])
        won, low, high = reached[engine].mean(), *wilson(int(reached[engine].sum()), len(seeds))
        less, least, most = paired_success(reached[engine], reached["eager"])
        score = np.mean([rollout.score for rollout in rollouts])
        print(
            f"| {engine} | {error:.0e} | {won:.3f} [{low:.3f}, {high:.3f}] |"
            f" {less:+.3f} [{least:+.3f}, {most:+.3f}] | {score:.3f} |",
            flush=True,
        )


def recorded_questions(policy: Policy, data: str) -> list[Question]:
    """Return recorded observations with noise, in batches."""
    config = policy.config
    known = read_dataset(data, config, torch.device("cpu"), known=policy.spec).train
    eager = EagerEngine(policy)
    arrays, horizon, width = eager.shape.noise
    generator = torch.Generator().manual_seed(0)
    questions = []
    for _ in range(0, OBSERVATIONS, TOGETHER):
        rows = torch.randint(len(known), (TOGETHER,), generator=generator)
        batch = known.batch(rows)
        obs = {key: batch[key].numpy() for key in policy.spec.observations}
        noise = torch.randn(arrays, TOGETHER, horizon, width, generator=generator).numpy()
        prefix: tuple[np.ndarray, ...] = ()
        if config.net.prefix:
            lengths = torch.randint(0, config.longest_prefix + 1, (TOGETHER,), generator=generator)
            prefix = (batch["action"].numpy(), lengths.float().numpy())
        questions.append(Question(obs, noise, prefix))
    return questions


def largest_error(policy: Policy, engine: Engine, questions: list[Question]) -> float:
    """Return the largest distance from eager's answers."""
    eager = EagerEngine(policy)
    return max(
        measure_distance(policy, question.ask(eager), question.ask(engine))
        for question in questions
    )


if __name__ == "__main__":
    main()
