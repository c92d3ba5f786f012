"""What the jobs of a run are, if they are more than one file each: rows, grids and groups."""
