#!/bin/bash
# Sets up the exporters of a compute node: dcgm-exporter on port 9400 (GPUs, every 15 s) and
# node_exporter on port 9100 (processors, memory, disks, network). Safe to run again.
#
#   compute-node.sh
#
# ParallelCluster runs it as OnNodeConfigured, as root, and replaces a node on which that fails.
# A node worth training on is not given up for its metrics: whatever goes wrong here is told on
# standard error (/var/log/cloud-init-output.log) and the node is kept. The stack's alarm on missing
# GPUs finds it.
set -euo pipefail

# To move to another release, take both sums from its sha256sums.txt:
# https://github.com/prometheus/node_exporter/releases/download/v<version>/sha256sums.txt
readonly NODE_EXPORTER_VERSION=1.9.1
declare -rA NODE_EXPORTER_SHA256=(
  [amd64]=becb950ee80daa8ae7331d77966d94a611af79ad0d3307380907e0ec08f5b4e8
  [arm64]=848f139986f63232ced83babe3cad1679efdbb26c694737edc1f4fbd27b96203
)

# 4.5.3-4.8.2-distroless for both architectures. To move to another release:
# docker buildx imagetools inspect nvcr.io/nvidia/k8s/dcgm-exporter:<tag>
readonly DCGM_EXPORTER_IMAGE=nvcr.io/nvidia/k8s/dcgm-exporter@sha256:60d3b00ac80b4ae77f94dae2f943685605585ad9e92fdccda3154d009ae317cc

# https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/install-guide.html
readonly CONTAINER_TOOLKIT_VERSION=1.19.1-1
readonly CONTAINER_TOOLKIT_KEY=C95B321B61E88C1809C4F759DDCAE044F796ECB0

main() {
  trap keep_node EXIT
  (($# == 0)) || fail "unknown argument $1: expected none"
  [[ $EUID -eq 0 ]] || fail "must run as root: use sudo"
  FOLDER=$(mktemp -d)
  install_node_exporter
  start_node_exporter
  if [[ ! -e /dev/nvidia0 ]]; then
    echo "compute-node.sh: no NVIDIA GPU here, dcgm-exporter is left out"
    return
  fi
  install_docker
  install_container_toolkit
  start_dcgm_exporter
  echo "compute-node.sh: the exporters answer on ports 9100 and 9400"
}

fail() {
  echo "compute-node.sh: $*" >&2
  exit 1
}

keep_node() {
  local status=$?
  rm -rf "${FOLDER:-}"
  [[ $status -eq 0 ]] || echo "compute-node.sh: failed, this node is without metrics; run it again by hand" >&2
  # Outside ParallelCluster a failure is a failure.
  [[ -d /etc/parallelcluster ]] || exit "$status"
  exit 0
}

install_node_exporter() {
  local architecture archive
  [[ "$(/usr/local/bin/node_exporter --version 2>&1)" != *"version $NODE_EXPORTER_VERSION "* ]] || return 0
  architecture=$(release_architecture)
  archive=node_exporter-$NODE_EXPORTER_VERSION.linux-$architecture.tar.gz
  download "https://github.com/prometheus/node_exporter/releases/download/v$NODE_EXPORTER_VERSION/$archive" "$FOLDER/$archive"
  echo "${NODE_EXPORTER_SHA256[$architecture]}  $FOLDER/$archive" | sha256sum --check --quiet ||
    fail "$archive is not what was released: not installed"
  tar --extract --gzip --file "$FOLDER/$archive" --directory "$FOLDER" --strip-components 1 --no-same-owner
  install --mode 755 "$FOLDER/node_exporter" /usr/local/bin/node_exporter
}

release_architecture() {
  case $(uname -m) in
    x86_64) echo amd64 ;;
    aarch64) echo arm64 ;;
    *) fail "$(uname -m): expected x86_64 or aarch64" ;;
  esac
}

download() {
  curl --fail --silent --show-error --location --retry 5 --retry-all-errors --output "$2" "$1" ||
    fail "cannot download $1: compute nodes need a way to the internet (a NAT gateway)"
}

start_node_exporter() {
  write_unit node-exporter <<'UNIT'
[Unit]
Description=node_exporter, metrics of this node for the head node's Prometheus

[Service]
ExecStart=/usr/local/bin/node_exporter --web.listen-address=:9100
DynamicUser=yes
Restart=always
RestartSec=5

[Install]
WantedBy=multi-user.target
UNIT
  wait_for_metrics 9100 node-exporter
}

install_docker() {
  command -v docker >/dev/null || install_packages docker.io
  systemctl enable --now --quiet docker
}

install_container_toolkit() {
  if ! command -v nvidia-ctk >/dev/null; then
    add_container_toolkit_repository
    install_packages {nvidia-container-toolkit,nvidia-container-toolkit-base,libnvidia-container-tools,libnvidia-container1}="$CONTAINER_TOOLKIT_VERSION"
  fi
  if ! docker info --format '{{json .Runtimes}}' | grep --quiet '"nvidia"'; then
    nvidia-ctk --quiet runtime configure --runtime=docker
    systemctl restart docker
  fi
}

add_container_toolkit_repository() {
  local keyring=/usr/share/keyrings/nvidia-container-toolkit.gpg
  download https://nvidia.github.io/libnvidia-container/gpgkey "$FOLDER/key"
  gpg --batch --homedir "$FOLDER" --show-keys --with-colons "$FOLDER/key" | grep --quiet "^fpr:.*:$CONTAINER_TOOLKIT_KEY:" ||
    fail "the key of nvidia.github.io is not $CONTAINER_TOOLKIT_KEY: not trusted"
  gpg --batch --homedir "$FOLDER" --yes --dearmor --output "$keyring" "$FOLDER/key"
  chmod 644 "$keyring"
  # shellcheck disable=SC2016 # apt fills in $(ARCH)
  echo "deb [signed-by=$keyring]" 'https://nvidia.github.io/libnvidia-container/stable/deb/$(ARCH) /' \
    >/etc/apt/sources.list.d/nvidia-container-toolkit.list
}

install_packages() {
  command -v apt-get >/dev/null ||
    fail "$* missing and no apt-get: use an Ubuntu image, or one with docker and nvidia-container-toolkit"
  apt-get -o DPkg::Lock::Timeout=300 update --quiet
  DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install --yes --quiet --no-install-recommends "$@"
}

start_dcgm_exporter() {
  # SYS_ADMIN is what DCGM reads the profiling counters with (DCGM_FI_PROF_*).
  write_unit dcgm-exporter <<UNIT
[Unit]
Description=dcgm-exporter, metrics of the GPUs for the head node's Prometheus
Requires=docker.service
After=docker.service

[Service]
ExecStartPre=-/usr/bin/docker rm --force dcgm-exporter
ExecStart=/usr/bin/docker run --rm --name dcgm-exporter --gpus all --cap-add SYS_ADMIN --network host \\
  --env DCGM_EXPORTER_LISTEN=:9400 --env DCGM_EXPORTER_INTERVAL=15000 $DCGM_EXPORTER_IMAGE
ExecStop=/usr/bin/docker stop dcgm-exporter
Restart=always
RestartSec=10
TimeoutStartSec=600

[Install]
WantedBy=multi-user.target
UNIT
  wait_for_metrics 9400 dcgm-exporter
}

write_unit() {
  cat >"/etc/systemd/system/$1.service"
  systemctl daemon-reload
  systemctl enable --quiet "$1"
  systemctl restart "$1"
}

wait_for_metrics() {
  curl --fail --silent --output /dev/null --retry 60 --retry-delay 2 --retry-all-errors "http://127.0.0.1:$1/metrics" ||
    fail "$2 does not answer on port $1: see journalctl --unit $2"
}

main "$@"
