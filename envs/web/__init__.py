"""What every page and its server share.

An address with a secret, bounded connections, an audience.
"""
