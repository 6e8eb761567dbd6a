#!/bin/bash
# Puts Debian 13's prometheus, promtool and alertmanager into a folder, without root and without installing
# them: Debian 12's prometheus takes the sigv4 of a remote_write and sends unsigned, as one of its patches leaves out
# the line that puts the signer in place (91-Disable_opentelemetry.patch). apt checks the archive's
# signature. No one version is pinned: a mirror keeps only the newest of a release.
#
#   install.sh FOLDER
set -euo pipefail

readonly FOLDER=${1:?the folder to put them into}
readonly KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
readonly SUITE=trixie

fail() {
  echo "install.sh: $*" >&2
  exit 1
}

[[ -r $KEYRING ]] || fail "no $KEYRING: install the package debian-archive-keyring if there is one; else put prometheus \
and promtool 2.53 and alertmanager 0.28 into $FOLDER yourself"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$FOLDER" "$work"/{lists,archives}/partial "$work/unpacked"
echo "deb [signed-by=$KEYRING] http://deb.debian.org/debian $SUITE main" >"$work/sources.list"
cat >"$work/apt.conf" <<CONF
Dir::Etc::SourceList "$work/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::State::Lists "$work/lists";
Dir::Cache "$work";
Acquire::Languages "none";
APT::Sandbox::User "";
CONF
export APT_CONFIG=$work/apt.conf
apt-get update -qq --option APT::Update::Error-Mode=any ||
  fail "deb.debian.org does not answer: Prometheus comes from there"
(cd "$work" && apt-get download -qq prometheus promtool prometheus-alertmanager)
for package in "$work"/*.deb; do
  dpkg-deb --extract "$package" "$work/unpacked"
done
# Debian's alertmanager has its templates' place in it. Whoever starts it in FOLDER gives it this one instead, of
# the same length: containers allow no namespace that has /usr/share otherwise.
program=$work/unpacked/usr/bin/prometheus-alertmanager
LC_ALL=C sed --in-place 's#/usr/share/prometheus/alertmanager#././././././alertmanager-templates#g' "$program"
# Make looks at prometheus, so that one comes last.
mv "$program" "$FOLDER/alertmanager"
rm -rf "$FOLDER/alertmanager-templates"
mkdir "$FOLDER/alertmanager-templates"
mv "$work"/unpacked/usr/share/prometheus/alertmanager/*.tmpl "$FOLDER/alertmanager-templates"
mv "$work"/unpacked/usr/bin/prom{tool,etheus} "$FOLDER"
