"""`fewstep serve` says what is wrong before it has loaded anything."""

import socket

import pytest

from fewstep.policy.cli.main import main
from fewstep.policy.serving.server import serve


def test_a_port_that_is_taken_is_told_before_the_policy_is_loaded(
    monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setattr(serve, "load_engine", None)  # would raise another error
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", "policy=pusht", f"port={port}"]) == 2
    assert f"nobody can be let in at 127.0.0.1:{port}" in capsys.readouterr().err
