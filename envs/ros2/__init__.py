"""A graph of ROS 2 on the wire of rmw_zenoh, without an installation of ROS."""
