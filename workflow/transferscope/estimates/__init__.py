"""What a study will take before it runs: jobs, downloads, hours and disk."""
