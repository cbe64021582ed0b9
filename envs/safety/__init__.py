"""What keeps an arm within its limits.

Limits, watchdogs, states, plausibility, and calibration of delays.
"""
