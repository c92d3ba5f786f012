"""Which files are the inputs: in a folder, in S3, or outputs of another run."""
