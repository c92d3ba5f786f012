"""A run as the client sees it: files, results, inputs, jobs, environment, record and state."""
