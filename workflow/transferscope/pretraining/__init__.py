"""Pretraining of backbones on a study's own tiles."""

# Raised when the results of its step change, so that its jobs run again.
VERSION = 1
