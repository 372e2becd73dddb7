#!/bin/sh
# CON-01 and CON-02 at length, by hand: ten minutes of kills, stops and cuts over three catalogs and three etcd members. The seed is in
# the test's name; HEDDLE_SEED=… takes the same faults again, and what cannot be explained is left in HEDDLE_HISTORY_DIR.
cd "$(dirname -- "$(readlink -f -- "$0")")/../.." || exit 1
PATH=$PWD/node_modules/.bin:$PATH
export HEDDLE_HISTORY_DIR="${HEDDLE_HISTORY_DIR:-/tmp}"
HEDDLE_SOAK_SECONDS="${HEDDLE_SOAK_SECONDS:-600}" timeout 1500 vitest run test-e2e/cluster/history.test.ts
