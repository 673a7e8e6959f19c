"""Files in object stores: which URLs are allowed, listing, reading and their errors."""
