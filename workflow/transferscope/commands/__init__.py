"""Commands that a user gives beside the steps of the workflow: one module a noun."""
