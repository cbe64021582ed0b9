"""What a training reads from the disk: pictures decoded once, maps of frozen backbones, states."""
