#!/bin/sh
# API-15 and API-19 by hand: more requests than an agent can answer for a minute, then what it is like afterwards. Needs wrk and curl.
# Prints memory, the event loop's delay as the agent measures it, and the latency of a calm client before and after.
cd "$(dirname -- "$(readlink -f -- "$0")")/../.." || exit 1
seconds=${1:-60}
dir=$(mktemp -d)
cat >"$dir/a.hcl" <<'H'
ports { http = 18590, dns = -1, server = 18591, grpc = -1 }
log_level = "err"
H
./heddle agent -dev -config-dir="$dir" >"$dir/log" 2>&1 &
agent=$!
trap 'kill $agent; rm -rf "$dir"' EXIT
url=http://127.0.0.1:18590
until curl -fs $url/v1/status/leader >/dev/null; do sleep 0.1; done
curl -fs -X PUT -d value $url/v1/kv/key >/dev/null
curl -fs -X PUT -d '{"Node":"n","Address":"10.0.0.1","Service":{"Service":"web"}}' $url/v1/catalog/register >/dev/null
printf 'request = function()\n  local n = math.random(4)\n  if n == 1 then return wrk.format("PUT", "/v1/kv/k" .. math.random(1000), nil, "v") end\n  if n == 2 then return wrk.format("GET", "/v1/health/service/web?passing&filter=Service.Port==" .. math.random(1000)) end\n  if n == 3 then return wrk.format("GET", "/v1/catalog/services") end\n  return wrk.format("GET", "/v1/kv/key")\nend\n' >"$dir/mix.lua"
state() { echo "$1: $(grep VmRSS /proc/$agent/status | tr -s '\t ' ' '), $(curl -s $url/metrics | grep -E '^nodejs_eventloop_lag_(p99|max)_seconds' | tr '\n' ' ')"; }
calm() { echo "calm client, $1: $(wrk -t1 -c4 -d3s --latency $url/v1/kv/key | grep '99%')"; }
calm before
state before
wrk -t2 -c190 -d"${seconds}s" -s "$dir/mix.lua" $url | grep -E 'requests in|Non-2xx|Socket errors'
state after
sleep 5
calm "5 s after"
state "5 s after"
