"""Train with other time atoms than the default's.

`python tests/benchmarks/atoms.py MASS LATE data=... out=...`.

What follows the two numbers are settings of `fewstep train`; the policy is an ordinary one.
"""

import sys
from dataclasses import replace

from fewstep.policy.cli.main import main
from fewstep.policy.diffusion.objectives import OBJECTIVES, draw_atoms

if __name__ == "__main__":
    mass, late, *settings = sys.argv[1:]
    OBJECTIVES["flow_atoms"] = replace(
        OBJECTIVES["flow_atoms"], draw_times=draw_atoms(float(mass), float(late))
    )
    sys.exit(main(["train", *settings]))
