"""Backbones, the channels that they are fed, and the embeddings that they give."""
