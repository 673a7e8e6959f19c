"""What jobs and studies need: memory, time, downloads and disk."""
