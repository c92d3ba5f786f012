"""The memory that jobs need on this machine: learned from their peaks, shared, and enforced."""
