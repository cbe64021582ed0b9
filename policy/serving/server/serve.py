"""Serving a policy from its settings, until told to end."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable
from contextlib import suppress

from ....envs import ConfigError
from ....envs.errors import refusing
from ...engines.engine import Engine
from ...engines.exported import hash_weights
from ...engines.loading import load_engine
from ...policy_folder import find_policy
from ..live.live_page import LivePage
from .access import read_key, require_key
from .config import ServeConfig, require_sound
from .layout import read_layout
from .policy_server import CLOSING_SECONDS, PolicyServer, name_address
from .server_feed import ServerFeed


def serve_policy(config: ServeConfig, log: Callable[[str], None]) -> None:
    """Serve a policy until Ctrl-C or SIGTERM; raises ConfigError before anyone is let in."""
    require_sound(config)
    key = read_key(config.key_file)
    require_key(config.host, key)
    folder = find_policy(config.policy)
    _require_free(config.host, config.port)
    engine = _load(config)
    layout = read_layout(config.layout, engine.spec)
    feed = ServerFeed(engine.spec, f"{config.policy}, served")
    page = LivePage(feed, config.page_port) if config.page else None
    server = PolicyServer(
        engine,
        layout,
        weights=hash_weights(folder),
        key=key,
        batch=config.batch,
        on_event=log,
        feed=feed,
    )
    try:
        server.warm_up()
        observed = [" + ".join(keys) for keys in layout.keys.values()]
        log(f"{config.policy} is computed by {engine.name}; it observes {', '.join(observed)}")
        if page:
            log(f"open {page.address} to see who asks and what is answered")
        asyncio.run(_serve(server, config, log))
    finally:
        server.close()
        if page:
            page.close()


def _require_free(host: str, port: int) -> None:
    """Raise ConfigError where nobody could be let in, before a policy is loaded for nobody."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        raise _not_free(host, port, error) from error


def _not_free(host: str, port: int, error: OSError) -> ConfigError:
    return ConfigError(f"nobody can be let in at {host}:{port}: {error}")


def _load(config: ServeConfig) -> Engine:
    sampler = None
    if config.network_evaluations:
        from ...checkpoint import load_policy  # with torch

        sampler = load_policy(config.policy).config.drawn_by.at(config.network_evaluations)
    with refusing(ConfigError, f"device={config.device} cannot be used here"):
        return load_engine(config.policy, config.engine, sampler, config.device, config.threads)


async def _serve(server: PolicyServer, config: ServeConfig, log: Callable[[str], None]) -> None:
    try:
        listening = await server.listen(config.host, config.port)
    except OSError as error:
        raise _not_free(config.host, config.port, error) from error
    for address in listening.sockets:
        log(f"ws://{name_address(address.getsockname())} (Ctrl-C ends it)")
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(number, told.set)
    await told.wait()
    loop.remove_signal_handler(signal.SIGINT)  # a second one ends it at once
    listening.close()
    with suppress(TimeoutError):  # strangers who never finish their handshake
        async with asyncio.timeout(CLOSING_SECONDS):
            await listening.wait_closed()
    server.hang_up()
    log("stopped")
