#!/bin/bash
# Sets up the exporters of a compute node: dcgm-exporter on port 9400 (GPUs, every 15 s) and
# node_exporter on port 9100 (processors, memory, disks, network). Safe to run again: what is in
# place and unchanged keeps running.
#
#   compute-node.sh
#
# For the systems of ParallelCluster 3.16: Ubuntu 22.04 and 24.04, Amazon Linux 2023, RHEL and Rocky
# Linux 8 and 9. The oldest tools are those of RHEL 8: bash 4.4, curl 7.61, dnf 4.7, systemd 239.
#
# ParallelCluster runs it as OnNodeConfigured, as root, and replaces a node on which that fails.
# A node worth training on is not given up for its metrics: whatever goes wrong is said in one line
# and the node is kept. The stack's alarm on missing GPUs finds it.
set -euo pipefail

# To move to another release, take both sums from its sha256sums.txt:
# https://github.com/prometheus/node_exporter/releases/download/v<version>/sha256sums.txt
readonly NODE_EXPORTER_VERSION=1.9.1
declare -rA NODE_EXPORTER_SHA256=(
  [amd64]=becb950ee80daa8ae7331d77966d94a611af79ad0d3307380907e0ec08f5b4e8
  [arm64]=848f139986f63232ced83babe3cad1679efdbb26c694737edc1f4fbd27b96203
)

# 4.6.0-4.8.3-distroless for both architectures. To move to another release:
# docker buildx imagetools inspect nvcr.io/nvidia/k8s/dcgm-exporter:<tag>
readonly DCGM_EXPORTER_IMAGE=nvcr.io/nvidia/k8s/dcgm-exporter@sha256:613ab03c11d442fd960ff515f547e9921537454a712d08160bc8f677f89f1c35
# The exporter's fields; it refuses to start with one that it does not know.
readonly COUNTERS=/opt/gpu-monitoring/counters.csv

# https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/install-guide.html
readonly CONTAINER_TOOLKIT_VERSION=1.19.1-1
readonly CONTAINER_TOOLKIT_PACKAGES=(nvidia-container-toolkit nvidia-container-toolkit-base libnvidia-container-tools libnvidia-container1)
readonly CONTAINER_TOOLKIT_KEY=C95B321B61E88C1809C4F759DDCAE044F796ECB0

# https://docs.docker.com/engine/install/rhel/
readonly DOCKER_KEY=060A61C51B558A7F742B77AAC52FEB6B621E9F35

# ParallelCluster deletes the script that it ran; this copy is there to run again.
readonly COPY=/opt/gpu-monitoring/compute-node.sh
# A node that is not ready after 35 minutes is replaced, and ParallelCluster needs its part of them.
readonly TIME_LIMIT_SECONDS=900

main() {
  trap finish EXIT
  FOLDER=$(mktemp -d)
  (($# == 0)) || fail "unknown argument $1: expected none"
  [[ $EUID -eq 0 ]] || fail "must run as root: use sudo"
  prepare
  part set_up_node_exporter
  part set_up_dcgm_exporter
}

# ---- How it ends

readonly TOLD=3

fail() {
  echo "$*" >>"$FOLDER/reasons"
  exit "$TOLD"
}

# Runs one part to its end or its failure. It is a shell of its own, so that the other one does not
# depend on it: GPUs are measured without GitHub, and processors without docker.
part() {
  local status
  set +e
  (
    set -e
    "$1"
  )
  status=$?
  set -e
  ((status == 0 || status == TOLD)) || echo "${1//_/ } failed, see above" >>"$FOLDER/reasons"
}

finish() {
  local status=$? reasons='' message
  [[ ! -e ${FOLDER:-}/reasons ]] || reasons=$(<"$FOLDER/reasons")
  rm -rf "${FOLDER:-}"
  [[ $status != 0 || -n $reasons ]] || exit 0
  reasons=${reasons:-a command failed, see above}
  message="compute-node.sh: ${reasons//$'\n'/; }"
  if ! in_cluster; then
    echo "$message" >&2
    exit 1
  fi
  message+=". The node is kept, without these metrics. Mend that, then run as root: $COPY"
  # ParallelCluster drops the standard error of a script that ends well, so this goes to standard
  # output (/var/log/cloud-init-output.log), and to the journal.
  echo "$message"
  logger --tag compute-node.sh "$message" || true
  exit 0
}

in_cluster() {
  [[ -d /etc/parallelcluster ]]
}

# ---- What every step needs

prepare() {
  # Neither cloud-init nor sudo promises these.
  export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin${PATH:+:$PATH}
  umask 022
  in_cluster || return 0
  exec 2>&1
  [[ ! -f $0 || $0 -ef $COPY ]] || install -D --mode 755 "$0" "$COPY" || true
  if [[ -z ${https_proxy:-} && -r /etc/profile.d/proxy.sh ]]; then
    # ParallelCluster's own start reads it; sudo does not.
    # shellcheck source=/dev/null
    . /etc/profile.d/proxy.sh
  fi
}

# Tries a command up to $1 times, $2 seconds apart. curl's --retry gives up at once where a name does
# not resolve yet, and its --retry-all-errors is newer than RHEL 8.
retry() {
  local attempts=$1 pause=$2 attempt
  shift 2
  for ((attempt = 1; attempt < attempts; attempt++)); do
    ! "$@" || return 0
    sleep "$pause"
  done
  "$@"
}

# Runs a command that may hang for no longer than the time limit leaves.
bounded() {
  ((SECONDS < TIME_LIMIT_SECONDS)) || return 1
  timeout --foreground --kill-after 10 "$((TIME_LIMIT_SECONDS - SECONDS))" "$@"
}

download() {
  retry 5 5 bounded curl --fail --silent --show-error --location --proto =https \
    --connect-timeout 10 --max-time 120 --output "$2" "$1" ||
    fail "cannot download $1: compute nodes need a way to the internet (a NAT gateway)"
}

# Starts a unit, the text of which is standard input.
start_unit() {
  local file=/etc/systemd/system/$1.service text
  text=$(cat)
  if [[ -f $file && "$(<"$file")" == "$text" ]] && systemctl is-enabled --quiet "$1"; then
    bounded systemctl start "$1" || fail "$1 does not start: see journalctl --unit $1"
    return
  fi
  echo "$text" >"$file"
  systemctl daemon-reload
  systemctl enable --quiet "$1"
  bounded systemctl restart "$1" || fail "$1 does not start: see journalctl --unit $1"
}

wait_for_metrics() {
  retry 60 2 answers "$1" || fail "$2 does not answer on port $1: see journalctl --unit $2"
}

answers() {
  curl --fail --silent --noproxy '*' --max-time 5 --output /dev/null "http://127.0.0.1:$1/metrics"
}

# ---- node_exporter

set_up_node_exporter() {
  install_node_exporter
  # With its version in it, another version is another unit, and so is started again.
  start_unit node-exporter <<UNIT
[Unit]
Description=node_exporter $NODE_EXPORTER_VERSION, metrics of this node for the head node's Prometheus

[Service]
ExecStart=/usr/local/bin/node_exporter --web.listen-address=:9100
DynamicUser=yes
Restart=always
RestartSec=5

[Install]
WantedBy=multi-user.target
UNIT
  wait_for_metrics 9100 node-exporter
  echo "compute-node.sh: node_exporter answers on port 9100"
}

install_node_exporter() {
  local architecture archive
  [[ "$(/usr/local/bin/node_exporter --version 2>&1)" != *"version $NODE_EXPORTER_VERSION "* ]] || return 0
  architecture=$(release_architecture)
  archive=node_exporter-$NODE_EXPORTER_VERSION.linux-$architecture.tar.gz
  download "https://github.com/prometheus/node_exporter/releases/download/v$NODE_EXPORTER_VERSION/$archive" "$FOLDER/$archive"
  echo "${NODE_EXPORTER_SHA256[$architecture]}  $FOLDER/$archive" | sha256sum --check --status ||
    fail "$archive is not what was released: not installed"
  tar --extract --gzip --file "$FOLDER/$archive" --directory "$FOLDER" --strip-components 1 --no-same-owner
  # Not moved: a file from /tmp would keep a label with which SELinux lets no service run it.
  install --mode 755 "$FOLDER/node_exporter" /usr/local/bin/node_exporter
}

release_architecture() {
  case $(uname -m) in
    x86_64) echo amd64 ;;
    aarch64) echo arm64 ;;
    *) fail "$(uname -m): expected x86_64 or aarch64" ;;
  esac
}

# ---- dcgm-exporter

set_up_dcgm_exporter() {
  if ! has_gpu; then
    echo "compute-node.sh: no NVIDIA GPU here, dcgm-exporter is left out"
    return
  fi
  load_driver
  install_docker
  install_container_toolkit
  pull_dcgm_exporter
  start_dcgm_exporter
  echo "compute-node.sh: dcgm-exporter answers on port 9400"
}

# A counters file replaces the exporter's own list, which is telemetry only. This is that list (of 4.8.3),
# and what tells a GPU's health and use. Help texts may have no comma.
print_counters() {
  cat <<'COUNTERS'
# Clocks
DCGM_FI_DEV_SM_CLOCK, gauge, SM clock frequency (in MHz).
DCGM_FI_DEV_MEM_CLOCK, gauge, Memory clock frequency (in MHz).
DCGM_FI_DEV_CLOCKS_EVENT_REASONS, gauge, Reasons why clocks are limited (a bitmask).

# Temperature
DCGM_FI_DEV_MEMORY_TEMP, gauge, Memory temperature (in C).
DCGM_FI_DEV_GPU_TEMP, gauge, GPU temperature (in C).
DCGM_FI_DEV_GPU_TEMP_LIMIT, gauge, Degrees left until the GPU slows down (in C).

# Power
DCGM_FI_DEV_POWER_USAGE, gauge, Power draw (in W).
DCGM_FI_DEV_POWER_MGMT_LIMIT, gauge, Power limit (in W).
DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION, counter, Total energy consumption since the driver was loaded (in mJ).

# PCIe
DCGM_FI_PROF_PCIE_TX_BYTES, gauge, Bytes a second sent over PCIe.
DCGM_FI_PROF_PCIE_RX_BYTES, gauge, Bytes a second received over PCIe.
DCGM_FI_DEV_PCIE_REPLAY_COUNTER, counter, Total number of PCIe retries.

# Utilization
DCGM_FI_DEV_GPU_UTIL, gauge, GPU utilization (in %).
DCGM_FI_DEV_MEM_COPY_UTIL, gauge, Memory utilization (in %).
DCGM_FI_DEV_ENC_UTIL, gauge, Encoder utilization (in %).
DCGM_FI_DEV_DEC_UTIL, gauge, Decoder utilization (in %).
DCGM_FI_PROF_GR_ENGINE_ACTIVE, gauge, Ratio of time the graphics engine is active.
DCGM_FI_PROF_SM_ACTIVE, gauge, Ratio of time an SM has at least one warp.
DCGM_FI_PROF_PIPE_TENSOR_ACTIVE, gauge, Ratio of cycles the tensor pipe is active.
DCGM_FI_PROF_DRAM_ACTIVE, gauge, Ratio of cycles the memory interface is active.

# Memory
DCGM_FI_DEV_FB_FREE, gauge, Framebuffer memory free (in MiB).
DCGM_FI_DEV_FB_USED, gauge, Framebuffer memory used (in MiB).
DCGM_FI_DEV_FB_RESERVED, gauge, Framebuffer memory reserved (in MiB).
DCGM_FI_DEV_ECC_SBE_VOL_TOTAL, counter, Single-bit ECC errors since the driver was loaded.
DCGM_FI_DEV_ECC_DBE_VOL_TOTAL, counter, Double-bit ECC errors since the driver was loaded.
DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS, counter, Rows remapped for uncorrectable errors.
DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS, counter, Rows remapped for correctable errors.
DCGM_FI_DEV_ROW_REMAP_FAILURE, gauge, Whether remapping of rows has failed.
DCGM_FI_DEV_ROW_REMAP_PENDING, gauge, Whether remapped rows wait for a reset of the GPU.

# Errors
DCGM_FI_DEV_XID_ERRORS, gauge, Value of the last XID error encountered.
DCGM_EXP_XID_ERRORS_COUNT, gauge, XID errors within a window of five minutes.
DCGM_EXP_XID_ERRORS_TOTAL, counter, XID errors since the exporter was started.
DCGM_FI_DEV_GET_GPU_RECOVERY_ACTION, gauge, What the driver asks for to recover the GPU.

# Throttling
DCGM_FI_DEV_POWER_VIOLATION, counter, Time throttled for power (in ns).
DCGM_FI_DEV_THERMAL_VIOLATION, counter, Time throttled for heat (in ns).
DCGM_FI_DEV_CLOCKS_EVENT_REASON_SW_POWER_CAP_NS, counter, Time slowed down for the power limit (in ns).
DCGM_FI_DEV_CLOCKS_EVENT_REASON_SW_THERM_SLOWDOWN_NS, counter, Time slowed down for heat by software (in ns).
DCGM_FI_DEV_CLOCKS_EVENT_REASON_HW_THERM_SLOWDOWN_NS, counter, Time slowed down for heat by hardware (in ns).
DCGM_FI_DEV_CLOCKS_EVENT_REASON_HW_POWER_BRAKE_SLOWDOWN_NS, counter, Time slowed down by the power brake (in ns).

# NVLink
DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL, counter, Bandwidth of all NVLink lanes.
DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL, counter, NVLink flow-control CRC errors.
DCGM_FI_DEV_NVLINK_CRC_DATA_ERROR_COUNT_TOTAL, counter, NVLink data CRC errors.
DCGM_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL, counter, NVLink retries.
DCGM_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL, counter, NVLink recovery errors.

# Label of every series
DCGM_FI_DRIVER_VERSION, label, Driver Version
COUNTERS
}

has_gpu() {
  # 0x10de is NVIDIA.
  [[ -e /dev/nvidia0 ]] || grep --quiet --no-messages 0x10de /sys/bus/pci/devices/*/vendor
}

load_driver() {
  # The first use loads the driver, which then makes this file.
  [[ -e /dev/nvidia0 ]] || bounded nvidia-smi --list-gpus || true
  [[ -e /dev/nvidia0 ]] ||
    fail "the NVIDIA driver of this node's GPUs is not loaded: use an image that has it, as ParallelCluster's do, or see dmesg"
}

install_docker() {
  command -v docker >/dev/null || install_docker_packages
  # podman-docker puts a `docker` in place that has neither a daemon nor an nvidia runtime.
  [[ "$(docker --version)" == "Docker version"* ]] ||
    fail "docker is another program here (podman-docker?): remove its package, so that Docker can be installed"
  use_proxy docker
  bounded systemctl enable --now --quiet docker || fail "docker does not start: see journalctl --unit docker"
}

install_docker_packages() {
  local system
  # A shell of its own: the file sets variables as it likes.
  # shellcheck source=/dev/null
  system=$(. /etc/os-release && echo "$ID ${PLATFORM_ID:-}")
  case $system in
    ubuntu\ * | debian\ *) install_packages docker.io ;;
    amzn\ *) install_packages docker ;;
    *\ platform:el[0-9]*)
      # Their own repositories have none.
      add_docker_repository "${system##*:el}"
      install_packages docker-ce docker-ce-cli containerd.io
      ;;
    *) fail "no docker here, and no way known to install it on ${system%% *}: use an image that has docker and nvidia-container-toolkit" ;;
  esac
}

# Docker builds for RHEL, whatever the rebuild: Rocky Linux has no packages of its own.
add_docker_repository() {
  local key=/etc/pki/rpm-gpg/RPM-GPG-KEY-docker-ce file=/etc/yum.repos.d/docker-ce.repo
  [[ ! -e $file ]] || return 0
  save_key https://download.docker.com/linux/rhel/gpg "$DOCKER_KEY" "$key"
  cat >"$file" <<REPO
[docker-ce-stable]
name=Docker CE Stable
baseurl=https://download.docker.com/linux/rhel/$1/\$basearch/stable
gpgcheck=1
gpgkey=file://$key
# Out of reach, it must not stop dnf from anything else.
skip_if_unavailable=1
REPO
}

install_container_toolkit() {
  if ! command -v nvidia-ctk >/dev/null; then
    if command -v apt-get >/dev/null; then
      add_container_toolkit_to_apt
      install_packages "${CONTAINER_TOOLKIT_PACKAGES[@]/%/=$CONTAINER_TOOLKIT_VERSION}"
    else
      add_container_toolkit_to_dnf
      install_packages "${CONTAINER_TOOLKIT_PACKAGES[@]/%/-$CONTAINER_TOOLKIT_VERSION}"
    fi
  fi
  if ! has_nvidia_runtime; then
    nvidia-ctk runtime configure --runtime=docker || fail "nvidia-ctk cannot add the nvidia runtime to /etc/docker/daemon.json: see above"
    # Not restarted: whatever container runs here already goes on.
    bounded systemctl reload docker || true
    retry 10 1 has_nvidia_runtime || fail "docker does not take the nvidia runtime from /etc/docker/daemon.json: see journalctl --unit docker"
  fi
}

has_nvidia_runtime() {
  bounded docker info --format '{{json .Runtimes}}' | grep --quiet '"nvidia"'
}

add_container_toolkit_to_apt() {
  local key=/usr/share/keyrings/nvidia-container-toolkit.asc
  # An entry is kept: a second one with another key would stop apt altogether.
  ! grep --recursive --quiet --no-messages libnvidia-container/stable/deb /etc/apt/sources.list.d || return 0
  save_key https://nvidia.github.io/libnvidia-container/gpgkey "$CONTAINER_TOOLKIT_KEY" "$key"
  # shellcheck disable=SC2016 # apt fills in $(ARCH)
  echo "deb [signed-by=$key]" 'https://nvidia.github.io/libnvidia-container/stable/deb/$(ARCH) /' \
    >/etc/apt/sources.list.d/nvidia-container-toolkit.list
}

# As NVIDIA's own file has it: the signature is that of the repository, the packages have none.
add_container_toolkit_to_dnf() {
  local key=/etc/pki/rpm-gpg/RPM-GPG-KEY-nvidia-container-toolkit file=/etc/yum.repos.d/nvidia-container-toolkit.repo
  [[ ! -e $file ]] || return 0
  save_key https://nvidia.github.io/libnvidia-container/gpgkey "$CONTAINER_TOOLKIT_KEY" "$key"
  cat >"$file" <<REPO
[nvidia-container-toolkit]
name=NVIDIA Container Toolkit
baseurl=https://nvidia.github.io/libnvidia-container/stable/rpm/\$basearch
repo_gpgcheck=1
gpgcheck=0
gpgkey=file://$key
# Out of reach, it must not stop dnf from anything else.
skip_if_unavailable=1
REPO
}

# Downloads a key. Of the keys in the file only the expected one is taken.
save_key() {
  local url=$1 fingerprint=$2 file=$3
  command -v gpg >/dev/null || fail "gpg is missing, with which the key of $url is checked: install gnupg2 (gnupg on Ubuntu)"
  download "$url" "$FOLDER/downloaded"
  gpg --batch --no-autostart --homedir "$FOLDER" --import "$FOLDER/downloaded" &>/dev/null || true
  gpg --batch --no-autostart --homedir "$FOLDER" --armor --export "$fingerprint" >"$FOLDER/key" 2>/dev/null || true
  [[ -s $FOLDER/key ]] || fail "the key of $url is not $fingerprint: not trusted"
  install -D --mode 644 "$FOLDER/key" "$file"
}

install_packages() {
  local advice="see above; compute nodes need a way to the internet (a NAT gateway)"
  if command -v apt-get >/dev/null; then
    # Another run of apt-get keeps it from a lock for which there is no option to wait. It fails as
    # well where another source is out of order, which need not matter here.
    retry 12 10 apt_get update || true
    retry 3 10 apt_get install --yes --no-install-recommends "$@" || fail "apt-get cannot install $*: $advice"
  elif command -v dnf >/dev/null; then
    # It waits for other runs of dnf by itself.
    retry 3 10 bounded dnf --assumeyes --quiet --setopt=install_weak_deps=False install "$@" ||
      fail "dnf cannot install $*: $advice"
  else
    fail "$* missing, and neither apt-get nor dnf: use an image that has docker and nvidia-container-toolkit"
  fi
}

# Waits for dpkg's lock, asks nobody, and restarts no service that a library was updated for.
apt_get() {
  DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l bounded apt-get -o DPkg::Lock::Timeout=300 \
    -o Dpkg::Options::=--force-confold --quiet "$@"
}

pull_dcgm_exporter() {
  ! docker image inspect "$DCGM_EXPORTER_IMAGE" &>/dev/null || return 0
  retry 3 10 bounded docker pull --quiet "$DCGM_EXPORTER_IMAGE" ||
    fail "cannot pull $DCGM_EXPORTER_IMAGE: compute nodes need a way to the internet (a NAT gateway)"
}

# Starts the exporter. A field that it does not know costs that field, and not the others.
start_dcgm_exporter() {
  local refused known=() before
  print_counters >"$FOLDER/counters.csv"
  while true; do
    install -D --mode 644 "$FOLDER/counters.csv" "$COUNTERS"
    before=$(date +%s)
    # With the digest of the counters in it, other counters are another unit, and so it is started again.
    start_dcgm_exporter_unit "$(sha256sum <"$COUNTERS")"
    refused=$(await_dcgm_exporter "$before") || fail "dcgm-exporter does not answer on port 9400: see journalctl --unit dcgm-exporter"
    [[ -n $refused ]] || break
    [[ " ${known[*]-} " != *" $refused "* ]] || fail "dcgm-exporter refuses $refused, which is not among its fields: see journalctl --unit dcgm-exporter"
    known+=("$refused")
    sed --in-place "/^$refused *,/d" "$FOLDER/counters.csv"
    # The journal is read from the next second on, in which this refusal is not.
    sleep 1
  done
  ((${#known[@]} == 0)) || echo "compute-node.sh: dcgm-exporter does not know ${known[*]}: left out"
}

# Waits until it answers, or prints the field that it refuses.
await_dcgm_exporter() {
  local attempt refused
  for ((attempt = 0; attempt < 60; attempt++)); do
    ! answers 9400 || return 0
    refused=$(journalctl --unit dcgm-exporter --since "@$1" --output cat 2>/dev/null |
      sed --quiet "s/.*unknown ExporterCounter field '\{0,1\}\([A-Z0-9_]*\).*/\1/p" | tail --lines 1)
    if [[ -n $refused ]]; then
      echo "$refused"
      return 0
    fi
    sleep 2
  done
  return 1
}

start_dcgm_exporter_unit() {
  local docker
  docker=$(command -v docker)
  # --runtime nvidia rather than --gpus: with the latter every `systemctl daemon-reload`, and
  # ParallelCluster has one to come, takes the GPUs from the running container:
  # https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/troubleshooting.html
  # SYS_ADMIN is what DCGM reads the profiling counters with (DCGM_FI_PROF_*).
  start_unit dcgm-exporter <<UNIT
[Unit]
Description=dcgm-exporter, metrics of the GPUs for the head node's Prometheus
# Counters ${1%% *}
Requires=docker.service
After=docker.service

[Service]
ExecStartPre=-$docker rm --force dcgm-exporter
ExecStart=$docker run --rm --name dcgm-exporter --runtime nvidia --cap-add SYS_ADMIN --network host \\
  --env NVIDIA_VISIBLE_DEVICES=all --env NVIDIA_DRIVER_CAPABILITIES=compute,utility \\
  --env DCGM_EXPORTER_LISTEN=:9400 --env DCGM_EXPORTER_INTERVAL=15000 \\
  --volume $COUNTERS:/etc/dcgm-exporter/counters.csv:ro --env DCGM_EXPORTER_COLLECTORS=/etc/dcgm-exporter/counters.csv \\
  $DCGM_EXPORTER_IMAGE
ExecStop=$docker stop dcgm-exporter
Restart=always
RestartSec=10

[Install]
WantedBy=multi-user.target
UNIT
}

# systemd starts services without this shell's environment.
use_proxy() {
  local file=/etc/systemd/system/$1.service.d/gpu-monitoring-proxy.conf text
  text=$(print_proxy)
  [[ -n $text ]] || return 0
  text="[Service]"$'\n'"$text"
  [[ ! -e $file || "$(<"$file")" != "$text" ]] || return 0
  mkdir -p "${file%/*}"
  echo "$text" >"$file"
  systemctl daemon-reload
  bounded systemctl try-restart "$1"
}

print_proxy() {
  local name value
  for name in HTTP_PROXY HTTPS_PROXY NO_PROXY; do
    value=${name,,}
    value=${!name:-${!value:-}}
    # A percent sign is special in a unit.
    [[ -z $value ]] || echo "Environment=\"$name=${value//%/%%}\""
  done
}

main "$@"
