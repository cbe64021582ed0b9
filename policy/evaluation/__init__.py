"""What a policy is worth: rollouts, statistics, chunk quality and the report."""
