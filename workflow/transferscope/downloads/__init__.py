"""Locks of processes that share a file."""
