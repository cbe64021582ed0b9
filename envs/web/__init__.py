"""What pages and their servers share: a secret address, bounded connections, an audience."""
