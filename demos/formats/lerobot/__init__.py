"""LeRobot datasets v3.0, read and written."""
