#!/bin/sh
# Proxies at length, by hand: 100 kills of either under load, instances that flap for a minute (about 10 minutes).
cd "$(dirname -- "$(readlink -f -- "$0")")/../.." || exit 1
PATH=$PWD/node_modules/.bin:$PATH
HEDDLE_SOAK_KILLS=100 HEDDLE_SOAK_FLAPS=600 exec timeout 3000 vitest run test-e2e/faults/proxy-kills.test.ts
