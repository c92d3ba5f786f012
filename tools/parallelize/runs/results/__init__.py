"""What jobs have left behind: results, failures, the merge."""
