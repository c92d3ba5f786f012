"""Messages: receiving, leases and claims, acknowledging, and noticing the end of the run."""
