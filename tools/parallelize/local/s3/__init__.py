"""S3 of the local cloud."""
