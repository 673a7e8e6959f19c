"""The report of a study: one HTML file with the answer, all stores and every figure."""
