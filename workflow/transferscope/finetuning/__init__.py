"""Fine-tuning: a backbone trained on with labels, on the same divisions as the heads."""

# Raised when the results of its step change, so that its jobs run again.
VERSION = 1
