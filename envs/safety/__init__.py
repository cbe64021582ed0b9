"""What keeps an arm within its limits: limits, watchdogs, states, plausibility, and calibration of delays."""
