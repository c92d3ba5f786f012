"""The commands, one module each: parameters, one call, printing; importing them is quick."""
