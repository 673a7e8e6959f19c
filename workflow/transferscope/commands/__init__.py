"""The command line, one module per topic: steps of the workflow, and commands for users."""
