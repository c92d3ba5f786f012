"""What each command does, and what only commands share with one another."""
