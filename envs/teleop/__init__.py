"""How a person drives a robot: devices, and what their hands mean as commands."""
