"""What a worker tells others: heartbeat, metrics, limits of the whole run, and its log."""
