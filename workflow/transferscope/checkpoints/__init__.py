"""Checkpoint files: read as data, recognised by their layout, matched with a network in full."""
