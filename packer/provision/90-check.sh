# What must be true of every image; one line for each, and one that is not true ends the build.

exec /usr/bin/python3 ./check.py "$STAGE"
