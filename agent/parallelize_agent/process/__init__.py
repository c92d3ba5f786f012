"""A command and its processes: started apart, drained, limited, and ended."""
