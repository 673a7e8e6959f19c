"""Memory, time, downloads and disk of jobs and studies."""
