"""Pretraining of backbones on a study's own tiles."""
