"""ROS bags, read."""
