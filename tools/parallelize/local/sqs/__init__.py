"""SQS of the local cloud."""
