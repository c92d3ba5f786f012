"""The local cloud: S3, SQS and EC2 on loopback, with real agent processes for instances."""
