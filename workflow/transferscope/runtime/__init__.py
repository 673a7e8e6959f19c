"""Files, locks, devices, seeds and progress: what every step needs, independent of microscopy."""
