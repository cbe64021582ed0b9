"""The client of openpi, as it comes from PyPI, drives Push-T through a policy server.

`python tests/smoke_openpi.py PYTHON`: of an environment with openpi-client and gym-pusht, which
wants an older numpy than fewstep; `make wheel` does. That Python runs this file as well.
"""

import subprocess
import sys
from typing import Any

EPISODES = 2
STEPS = 300
FIRST_SEED = 100_002


def serve_to(python: str) -> None:
    """Serve the shipped policy to a client in another environment."""
    command = [sys.executable, "-m", "fewstep.policy.cli.main", "serve", "policy=pusht", "port=0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        address = next(line for line in server.stdout if "ws://" in line).split()[0]
        port = address.rpartition(":")[2]
        subprocess.run([python, __file__, "play", port], check=True)
        assert server.poll() is None, "the server has ended"
    finally:
        server.terminate()
        server.wait()


def play(port: int) -> None:
    """Play whole episodes: with a history of one's own, and as openpi's broker does."""
    import gym_pusht  # noqa: F401, which registers the environment
    import gymnasium
    from openpi_client.action_chunk_broker import ActionChunkBroker
    from openpi_client.websocket_client_policy import WebsocketClientPolicy

    client = WebsocketClientPolicy("127.0.0.1", port)
    told = client.get_server_metadata()
    assert told["action_horizon"] == 16 and told["observation_steps"] == 2, told
    env = gymnasium.make("gym_pusht/PushT-v0", obs_type="environment_state_agent_pos")
    broker = ActionChunkBroker(client, told["action_steps"])
    scores = {
        "history": [play_with_history(client, told, env, number) for number in range(EPISODES)],
        "broker": [play_with_broker(broker, env, number) for number in range(EPISODES)],
    }
    print(scores)
    assert max(scores["history"]) > 0.9, scores  # without one the policy sees no velocity
    try:
        client.infer({"agent_pos": [1.0]})
    except RuntimeError as error:
        assert "lacks environment_state" in str(error), error
    else:
        raise AssertionError("half an observation was answered")


def play_with_history(client: Any, told: dict[str, Any], env: Any, number: int) -> float:
    """Return the best reward of an episode that is asked with the last two observations."""
    import numpy as np

    early = round(told["actuation_delay"] / told["dt"])
    obs, _ = env.reset(seed=FIRST_SEED + number)
    before = obs
    best = 0.0
    over = False
    steps = 0
    while not over and steps < STEPS:
        both = {key: np.stack([before[key], obs[key]]) for key in obs}
        reply = client.infer({**both, "episode": number, "time": steps / 10})
        assert reply["actions"].shape == (16, 2) and "warnings" not in reply, reply
        for action in reply["actions"][early : early + told["action_steps"]]:
            before = obs
            obs, reward, over, _, _ = env.step(action)
            best = max(best, float(reward))
            steps += 1
            if over or steps == STEPS:
                break
    return best


def play_with_broker(broker: Any, env: Any, number: int) -> float:
    """Return the best reward of an episode that openpi's broker drives, without any history."""
    obs, _ = env.reset(seed=FIRST_SEED + number)
    broker.reset()
    best = 0.0
    for _ in range(STEPS):
        obs, reward, over, _, _ = env.step(broker.infer(dict(obs))["actions"])
        best = max(best, float(reward))
        if over:
            break
    return best


if __name__ == "__main__":
    if sys.argv[1] == "play":
        play(int(sys.argv[2]))
    else:
        serve_to(sys.argv[1])
