"""What is asked for: the resolved study, its steps, paths and checks before a run."""
