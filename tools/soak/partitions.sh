#!/bin/sh
# CON-02 at length, by hand: twenty cycles of ten seconds around etcd's leader, then ten minutes of partitions, kills and stops of any server
# of the compose cluster. The seed is in the test's name; HEDDLE_SEED=… takes the same faults again.
cd "$(dirname -- "$(readlink -f -- "$0")")/../.." || exit 1
PATH=$PWD/node_modules/.bin:$PATH
export HEDDLE_HISTORY_DIR="${HEDDLE_HISTORY_DIR:-/tmp}"
HEDDLE_SOAK_SECONDS="${HEDDLE_SOAK_SECONDS:-900}" timeout 1800 vitest run test-e2e/cluster/partitions.test.ts
