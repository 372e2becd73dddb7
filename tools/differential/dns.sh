#!/usr/bin/env bash
# Asks a real Consul's DNS and Heddle's the same, over UDP without EDNS, with it, and over TCP, and prints what they answer differently; a
# left side is Consul's. By hand, with dig:
#
#     tools/differential/dns.sh /usr/bin/consul
set -euo pipefail
cd "$(dirname -- "$(readlink -f -- "$0")")/../.."
consul=$1
dir=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null; rm -rf "$dir"' EXIT

start() { # command, HTTP port; DNS is 1, what is internal 2 to 4 above it
  "$1" agent -dev -node=n1 -http-port="$2" -dns-port=$(($2 + 1)) -server-port=$(($2 + 2)) -serf-lan-port=$(($2 + 3)) \
    -serf-wan-port=$(($2 + 4)) -grpc-port=-1 >"$dir/$2.log" 2>&1 &
}
register() { for port in 18740 18750; do curl -fsS -o /dev/null -X PUT "127.0.0.1:$port/v1/catalog/register" -d "$1"; done; }
query() { for port in 18740 18750; do curl -fsS -o /dev/null -X POST "127.0.0.1:$port/v1/query" -d "$1"; done; }
answer() { # DNS port, transport, question
  # shellcheck disable=SC2086
  dig +norec +noall +comments +question +answer +authority +additional +time=3 +tries=1 "$2" @127.0.0.1 -p "$1" $3 |
    sed -E 's/id: [0-9]+//; s/, udp: [0-9]+//; s/[0-9]{10} 3600/SERIAL 3600/; s/ 187[45]2 / SERVER /; /^$|^; <<>>|COOKIE|^;; Got answer/d' | sort
}

start "$consul" 18740
start ./heddle 18750
for port in 18740 18750; do until curl -fs "127.0.0.1:$port/v1/health/service/consul?passing" | grep -q n1; do sleep 0.2; done; done

register '{"Node":"ext1","Address":"10.1.2.3","NodeMeta":{"k":"v","rfc1035-x":"hello world"},"Service":{"Service":"db","Port":5432,"Tags":["primary","A-b"],"Address":"db.example.com"}}'
register '{"Node":"ext2","Address":"2001:db8::2","Service":{"Service":"db6","Port":5433,"Weights":{"Passing":7,"Warning":2}}}'
register '{"Node":"ext3","Address":"host.example.com","Service":{"Service":"dbc","Port":1}}'
register '{"Node":"ext4","Address":"10.9.9.9","Service":{"Service":"Under_score","Port":1,"Address":"10.8.8.8","TaggedAddresses":{"lan_ipv6":{"Address":"2001:db8::8","Port":2}}}}'
register '{"Node":"both","Address":"10.1.2.33","TaggedAddresses":{"lan_ipv4":"10.1.2.34","lan_ipv6":"2001:db8::34"},"Service":{"Service":"both","Port":1}}'
for i in 1 2 3 4; do register '{"Node":"chain","Address":"10.1.2.4","Service":{"Service":"chain'$i'","Address":"chain'$((i + 1))'.service.consul","Port":2}}'; done
register '{"Node":"chain","Address":"10.1.2.4","Service":{"Service":"chain5","Address":"10.7.7.7","Port":2}}'
for i in 1 2 3; do
  status=$([ "$i" = 3 ] && echo critical || echo passing)
  register '{"Node":"m'"$i"'","Address":"10.20.0.'"$i"'","Service":{"Service":"few","Port":80,"Tags":["t'$((i % 2))'"]},"Check":{"CheckID":"c","Name":"c","ServiceID":"few","Status":"'"$status"'"}}'
done
query '{"Name":"q1","Service":{"Service":"few","OnlyPassing":true},"DNS":{"TTL":"7s"}}'
query '{"Name":"by-","Template":{"Type":"name_prefix_match","Regexp":"^by-(.*)$"},"Service":{"Service":"${match(1)}"}}'

questions=0
while read -r name types; do
  for type in $types; do
    for transport in +noedns +bufsize=1232 +tcp; do
      questions=$((questions + 1))
      answer 18741 "$transport" "$name $type" >"$dir/consul"
      answer 18751 "$transport" "$name $type" >"$dir/heddle"
      cmp -s "$dir/consul" "$dir/heddle" || { echo "== $name $type $transport" && diff "$dir/consul" "$dir/heddle"; } || true
    done
  done
done <<'Q'
db.service.consul A AAAA SRV ANY TXT MX CNAME SOA NS PTR
db6.service.consul A AAAA SRV
dbc.service.consul A AAAA SRV
under_score.service.consul A AAAA SRV
UNDER_SCORE.Service.Consul SRV
both.service.consul A AAAA SRV
both.node.consul A AAAA
few.service.consul A SRV ANY AAAA
t0.few.service.consul A SRV
T1.few.service.consul A
a.t1.few.service.consul A
_few._tcp.service.consul SRV A
_few._t1.service.consul SRV
_few._T1.consul SRV
few.service.dc1.consul A SRV
few.service.dc2.consul A
few.service.dc1.foo.consul A
chain1.service.consul A SRV
chain2.service.consul A
ext1.node.consul A AAAA ANY TXT
ext1.node.dc1.consul A
ext1.node.dc9.consul A
ext2.node.consul AAAA ANY
ext3.node.consul A ANY
EXT1.Node.Consul A
n1.node.consul A ANY TXT SOA NS
x.ext1.node.consul A
nope.node.consul A
nope.service.consul A SRV
nope.consul A
consul SOA NS A ANY TXT
service.consul A
node.consul A
few.connect.consul A SRV
few.ingress.consul A
q1.query.consul A SRV
q1.query.dc1.consul A
by-few.query.consul A SRV
nope.query.consul A
0a010203.addr.consul A ANY
0a010203.addr.dc1.consul A
20010db8000000000000000000000001.addr.consul AAAA
3.2.1.10.in-addr.arpa PTR
7.7.7.10.in-addr.arpa PTR
1.0.20.10.in-addr.arpa PTR
1.0.0.127.in-addr.arpa PTR
4.3.2.1.in-addr.arpa PTR
consul.service.consul A SRV
Q
echo "$questions questions"
