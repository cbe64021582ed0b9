"""As much of draccus as an adapter calls."""


def decode(kind, options):
    return kind(**options)
