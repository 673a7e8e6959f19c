"""Fine-tuning: a backbone trained on with labels, on the same divisions as the heads."""
