#!/usr/bin/env bash
# Installs what the tests use: Debian's packages, and of bullseye, the last suite to carry them in full, consul and
# prometheus, unpacked into a cache folder. Tests that miss a tool skip with its name; the system's own apt sources stay as they are.
set -euo pipefail

PACKAGES=(socat haproxy stunnel4 netcat-openbsd dnsutils curl openssl etcd-server etcd-client nginx-light tcpdump iproute2 procps psmisc strace faketime knot-dnsutils ldnsutils python3-consul zsh fish chromium)
PEERS_DIR=${PEERS_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/heddle-peers}
SUITE=bullseye
root=
[ "$(id -u)" -eq 0 ] || root=sudo

tmp=$(mktemp -d)
policy=
cleanup() {
  if [ -n "$policy" ]; then $root rm -f "$policy"; fi
  rm -rf "$tmp"
}
trap cleanup EXIT

missing=()
for package in "${PACKAGES[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  echo "installing ${missing[*]}"
  # None of them is to start a service of its own.
  if [ ! -e /usr/sbin/policy-rc.d ]; then
    printf '#!/bin/sh\nexit 101\n' | $root tee /usr/sbin/policy-rc.d >/dev/null
    $root chmod 755 /usr/sbin/policy-rc.d
    policy=/usr/sbin/policy-rc.d
  fi
  $root apt-get update -qq
  $root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

# Debian's later prometheus was built without consul_sd_configs, which is what the compose test is about.
absent=()
for package in consul prometheus; do
  [ -x "$PEERS_DIR/$package/usr/bin/$package" ] || absent+=("$package")
done
if [ ${#absent[@]} -gt 0 ]; then
  codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
  mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' | awk -v r="$codename" '$2 == r { print $1; exit }')
  if [ -n "$mirror" ]; then
    mkdir -p "$tmp/lists/partial" "$tmp/cache/archives/partial" "$tmp/deb"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $SUITE main" >"$tmp/sources.list"
    chmod -R a+rX "$tmp"
    # Without a status file: one that is installed in another version would hide the suite's.
    options=(
      -o "Dir::Etc::sourcelist=$tmp/sources.list" -o "Dir::Etc::sourceparts=-" -o "Dir::State::Lists=$tmp/lists"
      -o "Dir::State::status=/dev/null" -o "Dir::Cache=$tmp/cache" -o "Acquire::Check-Valid-Until=false"
      -o "Acquire::Languages=none" -o "APT::Sandbox::User=" -o "Debug::NoLocking=1"
    )
    if apt-get "${options[@]}" -qq update && (cd "$tmp/deb" && apt-get "${options[@]}" -qq download "${absent[@]}"); then
      for package in "${absent[@]}"; do
        mkdir -p "$PEERS_DIR/$package"
        dpkg -x "$tmp/deb/${package}"_*.deb "$PEERS_DIR/$package"
      done
    else
      echo "${absent[*]} cannot be had from $SUITE: the tests beside them are skipped"
    fi
  fi
fi
