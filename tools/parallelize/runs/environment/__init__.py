"""The command and what it needs: scripts, locked dependencies, the image."""
