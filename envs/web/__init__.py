"""What every page and its server share: an address with a secret, bounded connections, an audience."""
