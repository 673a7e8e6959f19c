"""Files from elsewhere: which URLs are allowed, listing, reading in place, download and cache."""
