"""What a person uses: the command line, the local cloud, and the fleet."""
