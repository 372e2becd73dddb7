#!/bin/sh
# API-10 at length, by hand: 200,000 changed requests from a seed of the day (HEDDLE_FUZZ_SEED gives another), and chains of 400 random
# graphs of config entries compared with Consul's where there is one (some minutes).
cd "$(dirname -- "$(readlink -f -- "$0")")/../.." || exit 1
PATH=$PWD/node_modules/.bin:$PATH
HEDDLE_FUZZ_SEED=${HEDDLE_FUZZ_SEED:-$(date +%Y%m%d)} HEDDLE_FUZZ_REQUESTS=200000 timeout 900 vitest run test-e2e/faults/fuzz.test.ts || exit 1
HEDDLE_CHAIN_GRAPHS=400 timeout 300 vitest run apps/cli/test/discovery-chain.test.ts
