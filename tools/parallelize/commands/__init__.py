"""The commands, a module each, and what only commands share with one another."""
