#!/bin/sh
set -eu
for file; do
  name=$(basename "$file" .txt).loud
  tr a-z A-Z < "$file" > "$name"
  echo "$name"
done
