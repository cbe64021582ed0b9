"""The policy server: the clients of openpi ask it for chunks over a WebSocket."""
