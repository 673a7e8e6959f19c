"""From all scores and predictions to intervals, paired differences and sentences."""
