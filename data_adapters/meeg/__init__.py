"""Magneto- and electroencephalography: epochs as objects or files."""
