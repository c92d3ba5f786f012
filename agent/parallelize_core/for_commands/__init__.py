"""What commands in Python may import on a worker; each file is whole by itself."""
