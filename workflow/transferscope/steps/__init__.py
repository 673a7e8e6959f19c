"""The steps of the workflow, each described once; rules, estimates, status and checks read it."""
