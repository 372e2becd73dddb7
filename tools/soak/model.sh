#!/bin/sh
# Random faults on hosts of their own against a model, by hand: 300 steps (about 25 minutes), or as many as are named, of a bundle made
# now. `tools/soak/model.sh 300 SEED` does the same again.
cd "$(dirname -- "$(readlink -f -- "$0")")/../.." || exit 1
. tools/soak/bundle.sh
[ -n "$2" ] && export HEDDLE_SOAK_SEED="$2"
HEDDLE_SOAK_STEPS="${1:-300}" vitest run test-e2e/faults/model.test.ts
