"""From the steps of the control loop to stored episodes."""
