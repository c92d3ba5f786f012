"""A command and its processes: started in isolation, drained, limited, and ended."""
