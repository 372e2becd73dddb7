#!/bin/sh
# DUR-01, CON-04 and DUR-11 at length, by hand: kills the catalog 200 times, an agent and a CA 100 times each (about 15 minutes), of a
# bundle made now.
cd "$(dirname -- "$(readlink -f -- "$0")")/../.." || exit 1
. tools/soak/bundle.sh
HEDDLE_SOAK_KILLS=200 vitest run test-e2e/faults/kill-catalog.test.ts || exit 1
HEDDLE_SOAK_KILLS=100 vitest run test-e2e/faults/kill-agent-ca.test.ts
