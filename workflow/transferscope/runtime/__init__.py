"""Files, locks, devices, seeds and progress: what every step needs and no field of science."""
