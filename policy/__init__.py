"""Learning, and the network behind an Agent."""
