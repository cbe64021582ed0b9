"""As much of lerobot as an adapter calls, where the real one is not installed."""
