"""The contract that the client and the agent share, and the one boundary to S3 and SQS."""
