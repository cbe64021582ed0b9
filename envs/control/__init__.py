"""The control process: owns the clock and the robot.

The process that started it talks to it through pipes.
"""
