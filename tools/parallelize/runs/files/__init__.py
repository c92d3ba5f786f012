"""Files on this computer: found, sent, fetched and written, and never over anything but our own."""
