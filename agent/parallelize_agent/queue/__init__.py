"""Messages: receiving, leases and claims, acknowledging, and finding out that it is over."""
