#!/bin/sh
# CA-10 at its full size, by hand: 5,000 idle and half handshakes at the internal port of each daemon (a minute).
cd "$(dirname -- "$(readlink -f -- "$0")")/../.." || exit 1
PATH=$PWD/node_modules/.bin:$PATH
ulimit -n 65536
HEDDLE_SOAK_HALF_HANDSHAKES=5000 exec timeout 600 vitest run test-e2e/faults/internal-ports.test.ts
