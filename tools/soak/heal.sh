#!/bin/sh
# INT-03 many times, by hand: a node is cut off for one to thirty seconds, a rule is written meanwhile, and what is printed is how long after
# the cable is back it is enforced (four minutes).
cd "$(dirname -- "$(readlink -f -- "$0")")/../.." || exit 1
PATH=$PWD/node_modules/.bin:$PATH
HEDDLE_SOAK_CUTS="${HEDDLE_SOAK_CUTS:-1 1.5 2 3 5 8 15 30 1 1.5 2 3 5 8 15 30}" exec timeout 600 vitest run test-e2e/faults/heal.test.ts
