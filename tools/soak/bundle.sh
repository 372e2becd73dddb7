# Sourced by the long runs, in the repository's root: a bundle of its own, so that they do not see sources change, and start fast.
PATH=$PWD/node_modules/.bin:$PATH
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
./heddle version >/dev/null && cp -R dist/. "$copy" || exit 1
printf '#!/bin/sh\nexec "%s" "%s/heddle.mjs" "$@"\n' "$PWD/node_modules/node/bin/node" "$copy" >"$copy/heddle"
chmod +x "$copy/heddle"
export HEDDLE_COMMAND="$copy/heddle"
