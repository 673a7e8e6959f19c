"""Remote files: allowed URLs, listing, reading in place, download and cache."""
