#!/bin/sh
# Certificates of docker-compose.cluster.yml, each in the volume of the one that uses it; what exists stays. etcd has an authority of its
# own. The authorities' keys stay in /tls/authority, which no daemon mounts. Runs as root, with no capability but that to give files away.
set -eu
umask 077
owner=10001:10001 # the image's user
authority=/tls/authority

heddle tls ca create -dir "$authority" -skip-existing
heddle tls ca create -dir "$authority/etcd" -skip-existing
[ -e "$authority/seal.key" ] || head -c 32 /dev/urandom | base64 >"$authority/seal.key"

issue_by() { # issue_by AUTHORITY DIRECTORY ROLE NAME [FLAGS]
  heddle tls cert create -dir "$2" -role "$3" -additional-dnsname "$4" -skip-existing ${5:-} \
    -ca "$1/heddle-ca.pem" -key "$1/heddle-ca-key.pem"
  [ -e "$2/heddle-ca.pem" ] || cp "$1/heddle-ca.pem" "$2/heddle-ca.pem"
}
issue() { # issue VOLUME ROLE [FLAGS]
  issue_by "$authority" "/tls/$1" "$2" "$1" "${3:-}"
}
give() { # give VOLUME
  chown -R "$owner" "/tls/$1"
}

for name in etcd-1 etcd-2 etcd-3; do
  [ -e "/tls/$name/data" ] && continue
  issue_by "$authority/etcd" "/tls/$name" server "$name"
  mkdir "/tls/$name/data"
  give "$name"
done
for name in catalog-1 catalog-2 catalog-3 ca-1 ca-2; do
  [ -e "/tls/$name/etcd" ] && continue
  issue "$name" "${name%-*}"
  issue_by "$authority/etcd" "/tls/$name/etcd" "${name%-*}" "$name"
  case $name in ca-*) cp "$authority/seal.key" "/tls/$name/seal.key" ;; esac
  give "$name"
done
[ -e /tls/dns/heddle-ca.pem ] || { issue dns dns && give dns; }
for node in node-a node-b node-c; do
  [ -e "/tls/$node/heddle-ca.pem" ] && continue
  issue "$node" agent "-node=$node"
  ln -sf "dc1-agent-$node.pem" "/tls/$node/dc1-agent.pem"
  ln -sf "dc1-agent-$node-key.pem" "/tls/$node/dc1-agent-key.pem"
  give "$node"
done
