"""What the jobs of a run are, if they are more than a file each: rows, grids and groups."""
