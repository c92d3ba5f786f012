"""What jobs need of this machine's memory: learned from their peaks, shared, and kept to."""
