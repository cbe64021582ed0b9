"""How chunks lie to the demonstrations.

`python tests/benchmarks/chunks.py DEMOS POLICY[:EVALUATIONS] ...`.
"""

import sys

from fewstep.policy.checkpoint import load_policy
from fewstep.policy.evaluation.chunk_quality import Nearby


def main() -> None:
    """Print spread, off_span and far of each policy as it is, or with so many evaluations."""
    demos, *policies = sys.argv[1:]
    print("| policy | evaluations | spread | off the span | far from every demonstrated chunk |")
    print("|---|---|---|---|---|")
    for argument in policies:
        name, _, count = argument.partition(":")
        policy = load_policy(name)
        own = policy.config.drawn_by
        sampler = own.at(int(count)) if count else own
        nearby = Nearby.find(policy, demos)
        found = nearby.measure(nearby.draw(policy, sampler, 0))
        cells = [f"{found[key].mean():.3f}" for key in ("spread", "off_span", "far")]
        print(f"| {name} | {sampler.cost} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
