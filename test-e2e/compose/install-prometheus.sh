#!/bin/sh
# Debian's prometheus of the bullseye suite into a cache folder: the releases after it were built without consul_sd_configs,
# which is what the compose test is about. The system's own apt sources stay as they are. Prints where the binary is.
set -eu

suite=bullseye # the last whose prometheus was built with Consul's service discovery
cache=${HEDDLE_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/heddle-peers}/prometheus
prometheus=$cache/usr/bin/prometheus
if [ ! -x "$prometheus" ]; then
  tmp=$(mktemp -d)
  trap 'rm -rf "$tmp"' EXIT
  codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
  mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' |
    awk -v r="$codename" '$2 == r { print $1; exit }')
  [ -n "$mirror" ] || { echo "no apt source for $codename is configured" >&2; exit 1; }
  mkdir -p "$tmp/lists/partial" "$tmp/cache/archives/partial" "$tmp/deb"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >"$tmp/sources.list"
  chmod -R a+rX "$tmp"
  apt() {
    apt-get -qq -o "Dir::Etc::sourcelist=$tmp/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State::Lists=$tmp/lists" \
      -o "Dir::Cache=$tmp/cache" -o Acquire::Check-Valid-Until=false -o Acquire::Languages=none -o APT::Sandbox::User= \
      -o Debug::NoLocking=1 -o Dir::State::status=/dev/null "$@"
  }
  apt update
  (cd "$tmp/deb" && apt download prometheus)
  rm -rf "$cache"
  mkdir -p "$cache"
  dpkg -x "$tmp"/deb/prometheus_*.deb "$cache"
fi
echo "$prometheus"
