"""What a worker reports: heartbeat, metrics, limits of the whole run, and its log."""
