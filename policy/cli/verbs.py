"""The verbs, with a line of help each, so that the overview imports none of them."""

from __future__ import annotations

VERBS = {  # each has a module of its name in this folder
    "demo": "The whole path on the built-in task: record, train, evaluate, report.",
    "cameras": "Show what the plugged-in cameras see, and write a file that gives them names.",
    "record": "Record demonstrations: the task's scripted expert acts, or a policy, or a person.",
    "import": "Import demonstrations of another format; what lies at `source` says which.",
    "export": "Export demonstrations or a run's log for other programs, or a policy without torch.",
    "spec": "Show what a store or a policy says about its fields, and change it.",
    "check": "Look for what is wrong with demonstrations, and say what to do about it.",
    "view": "Look through demonstrations, or a run, in the browser; nothing is ever erased.",
    "train": "Train a policy on demonstrations; the same command goes on with an unfinished run.",
    "distill": "Distill a policy into a student that needs one network evaluation per chunk.",
    "evaluate": "Roll a policy out on seeded starts, or set its chunks beside demonstrations.",
    "ensemble": "Make one policy of several trainings: a random one of them answers each request.",
    "tune": "Find the fewest network evaluations that are not worse than ten, and keep them.",
    "monitor": "Learn what good episodes look like, so that a run warns when one is unlike them.",
    "run": "Run a policy, or recorded actions, on a robot, within limits and with a log.",
    "serve": "Serve a policy to robots on this or other machines; openpi's clients can ask it.",
    "bench": "Measure the latency of a policy here, batch 1, against its control period.",
}
