"""How a run is doing: read from S3, SQS and EC2, and shown on a terminal."""
