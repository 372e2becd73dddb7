#!/bin/sh
# Makes the certificates by which the daemons know each other, each in the volume of the one that uses it; what exists stays.
# The CA's key stays in /tls/authority, which no daemon mounts. Runs as root, with no capability but that to give files away.
set -eu
umask 077
owner=10001:10001 # the image's user
authority=/tls/authority

heddle tls ca create -dir "$authority" -skip-existing

issue() { # issue VOLUME ROLE NAME [FLAGS]
  heddle tls cert create -dir "/tls/$1" -role "$2" -additional-dnsname "$3" -skip-existing ${4:-} \
    -ca "$authority/heddle-ca.pem" -key "$authority/heddle-ca-key.pem"
  [ -e "/tls/$1/heddle-ca.pem" ] || cp "$authority/heddle-ca.pem" "/tls/$1/heddle-ca.pem"
  chown "$owner" "/tls/$1"/*.pem
}
# An agent may write its own node alone, which its certificate names.
issue_agent() { # issue_agent NODE
  issue "$1" agent "$1" "-node=$1"
  ln -sf "dc1-agent-$1.pem" "/tls/$1/dc1-agent.pem"
  ln -sf "dc1-agent-$1-key.pem" "/tls/$1/dc1-agent-key.pem"
}
issue catalog catalog catalog
issue ca ca ca
issue dns dns dns
issue_agent node-a
issue_agent node-b
