"""The network that denoises action chunks, and the encoders in front of it."""
