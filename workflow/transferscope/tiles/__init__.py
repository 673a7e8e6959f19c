"""From raw fields to the tile store, its tables and its contact sheets."""

# Raised when the results of its step change, so that its jobs run again.
VERSION = 1
