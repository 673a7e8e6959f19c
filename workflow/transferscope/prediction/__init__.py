"""Labels for tiles without one: the winning head, refitted, calibrated and kept as a file."""
