"""The control process: owns the clock and the robot; the process that started it talks to it through pipes."""
