#!/bin/sh
# The same contract by hand, with jq: a line of JSON for each job, and one as the answer.
set -u
known=$(cat words.txt)   # loaded once
echo '{"ready": true}'
while read -r line; do
  job=$(printf %s "$line" | jq .job)
  input=$(printf %s "$line" | jq -r .input)
  cd "$(printf %s "$line" | jq -r .scratch)" || exit
  made=$(basename "${input%.*}").count
  if tr A-Z a-z < "$input" | tr -cs a-z '\n' | grep -cxF "$known" > "$made" || [ -s "$made" ]; then
    echo "$made"
    echo "{\"job\": $job, \"done\": true}"
  else
    echo "{\"job\": $job, \"failed\": 1}"
  fi
done
