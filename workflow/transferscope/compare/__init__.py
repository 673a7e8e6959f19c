"""Comparison of scores and predictions: intervals, paired differences and sentences."""
