"""From raw fields to the tile store, its tables and its contact sheets."""
