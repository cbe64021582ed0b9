"""Training of policies on demonstrations."""
