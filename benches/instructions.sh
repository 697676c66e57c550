#!/usr/bin/env bash
# Instructions per lookup, by the shape of the routes and their number: what does not depend on how
# busy the machine is. Needs valgrind. Arguments: the numbers of routes, else 10 1000 10000 100000.
set -euo pipefail
cd "$(dirname "$0")/.."

lookups=10000
sizes=("$@")
[ "$#" -gt 0 ] || sizes=(10 1000 10000 100000)
binary=$(cargo bench --locked --no-run --bench lookups --message-format=json 2>/dev/null |
    sed -n 's/.*"name":"lookups".*"executable":"\([^"]*\)".*/\1/p')

printf '%-10s' shape
printf '%10s' "${sizes[@]}"
echo
for shape in prefix miss regex host wildcard site mixed; do
    printf '%-10s' "$shape"
    for size in "${sizes[@]}"; do
        collected=$(valgrind --tool=callgrind --callgrind-out-file=/dev/null \
            --toggle-collect='lookups::counted' "$binary" "$shape" "$size" 2>&1 |
            sed -n 's/.*Collected : //p')
        printf '%10d' "$((collected / lookups))"
    done
    echo
done
