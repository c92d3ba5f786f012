#!/bin/sh
# One job of a chaos run. Its input says how long it takes, how many files it leaves and how it
# ends; what it leaves differs from execution to execution, so that a mixture is noticed.
set -eu
unset LD_PRELOAD  # the clock of the worker may be wrong, that of the journal is not
read -r journal < ./journal
read -r seconds outputs fate < "$1"
read -r nonce < /proc/sys/kernel/random/uuid
note() {
  echo "$1 $PARALLELIZE_INPUT_KEY $nonce $PARALLELIZE_SCRATCH $(date +%s.%N)" >> "$journal"
}
note start
# On a sick worker a library is missing, and no command begins.
[ ! -e "${PARALLELIZE_SCRATCH%/*/jobs/*}/sick" ] || exit 127
sleep "$seconds"
number=0
while [ "$number" -lt "$outputs" ]; do
  file="$(basename "$PARALLELIZE_INPUT_KEY" .txt).$number"
  echo "$PARALLELIZE_INPUT_KEY $nonce $number $PARALLELIZE_SCRATCH" > "$file"
  echo "$file"
  number=$((number + 1))
done
note end
case $fate in
  flaky) [ "$PARALLELIZE_ATTEMPT" -gt 1 ] || exit 1 ;;
  broken) exit 3 ;;
  bad) exit 65 ;;
esac
