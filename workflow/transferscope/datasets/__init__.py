"""Public datasets: from a source that a card names to raw files and a sample sheet."""
