#!/bin/bash
# Builds both functions for arm64 as they are deployed, into target/arm64/lambda. Where rustup cannot fetch Rust's
# library for arm64, the library and a compiler to match come from Debian sid, whatever version that has: unpacked
# into target/arm64, without root and without installing them. cargo-lambda links either way, by zig.
#
#   build.sh    (make test-arm64 calls it)
set -euo pipefail

readonly TARGET=aarch64-unknown-linux-gnu
readonly KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
# What Lambda runs it with: provided.al2023.
readonly GLIBC=2.34

fail() {
  echo "build.sh: $*" >&2
  exit 1
}

get_debian_rust() {
  local sid=$1 work=$CARGO_TARGET_DIR/apt package
  [[ $(uname -m) == x86_64 ]] || fail "no Rust library for $TARGET: rustup target add $TARGET"
  [[ -r $KEYRING ]] || fail "no $KEYRING: install debian-archive-keyring"
  echo "Getting Rust from Debian sid into $sid: 270 MB to download, 1.2 GB on disk" >&2
  rm -rf "$sid" "$work"
  mkdir -p "$sid" "$work"/{lists,archives}/partial
  touch "$work/status"
  echo "deb [signed-by=$KEYRING] http://deb.debian.org/debian sid main" >"$work/sources.list"
  cat >"$work/apt.conf" <<CONF
APT::Architectures { "amd64"; "arm64"; };
Dir::Etc::SourceList "$work/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::State "$work";
Dir::State::Lists "$work/lists";
Dir::State::Status "$work/status";
Dir::Cache "$work";
Acquire::Languages "none";
// A mirror may be behind.
Acquire::Check-Valid-Until "false";
APT::Sandbox::User "";
CONF
  export APT_CONFIG=$work/apt.conf
  apt-get update -qq
  apt-get install -qq -y --no-install-recommends --download-only rustc libstd-rust-dev:arm64 >/dev/null
  for package in "$work"/archives/*.deb; do
    dpkg-deb --extract "$package" "$sid"
  done
  rm -rf "$work"
  unset APT_CONFIG
  # Its compiler is linked to sid's libraries, newer than those of this machine. Written last: it says all is there.
  cat >"$sid/rustc.new" <<WRAPPER
#!/bin/sh
exec "$sid/usr/lib64/ld-linux-x86-64.so.2" --library-path "$sid/usr/lib/x86_64-linux-gnu" \\
  "$sid/usr/bin/rustc" --sysroot "$sid/usr" "\$@"
WRAPPER
  chmod +x "$sid/rustc.new"
  mv "$sid/rustc.new" "$sid/rustc"
}

cd "$(dirname "$0")/../.."
# Of its own: target/lambda stays what the tests of this machine run.
export CARGO_TARGET_DIR=$PWD/target/arm64
if [[ ! -d $(rustc --print sysroot)/lib/rustlib/$TARGET ]] && ! rustup target add "$TARGET"; then
  export RUSTC=$CARGO_TARGET_DIR/sid/rustc
  [[ -x $RUSTC ]] || get_debian_rust "$CARGO_TARGET_DIR/sid"
fi
"${RUSTC:-rustc}" --version
make build ARCH=arm64 CARGO_TARGET_DIR="$CARGO_TARGET_DIR"

for bootstrap in "$CARGO_TARGET_DIR"/lambda/*/bootstrap; do
  needed=$(objdump -T "$bootstrap" | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -1)
  newest=$(printf '%s\n' "$needed" "GLIBC_$GLIBC" | sort -V | tail -1)
  [[ $newest == "GLIBC_$GLIBC" ]] || fail "$bootstrap needs $needed; Lambda has $GLIBC"
  echo "$bootstrap: $(stat --format %s "$bootstrap") bytes, needs $needed"
done
