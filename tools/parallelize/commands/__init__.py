"""The commands, a module each: parameters, one call, printing; to import them is quick."""
