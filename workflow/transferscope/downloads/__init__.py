"""Files from elsewhere: resumed, verified, retried, and whole or absent."""
