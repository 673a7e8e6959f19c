"""Backbones, the channels that they are fed, and the embeddings that they give."""

# Raised when the results of its step change, so that its jobs run again.
VERSION = 1
