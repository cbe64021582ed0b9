"""Warnings before a policy fails: scores of what it sees and of what it plans, and a threshold."""
