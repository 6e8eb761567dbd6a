#!/bin/bash
# Sets up Prometheus on the head node: it scrapes every compute node and sends what it reads to
# Amazon Managed Prometheus. Safe to run again: a changed setting or version takes effect then, and
# without a change Prometheus keeps running.
#
#   head-node.sh --cluster NAME --region REGION --amp-endpoint URL [--print-config]
#
# For the systems of ParallelCluster 3.16: Ubuntu 22.04 and 24.04, Amazon Linux 2023, RHEL and Rocky
# Linux 8 and 9. The oldest tools are those of RHEL 8: bash 4.4, curl 7.61, systemd 239.
#
# ParallelCluster runs it as OnNodeConfigured, as root, and undoes the whole cluster where that fails.
# A cluster is not given up for its metrics: whatever goes wrong, wrong arguments among it, is said in
# one line, with the command to run once it is mended, and the cluster is kept.
set -euo pipefail

# To move to another release, take both sums from its sha256sums.txt:
# https://github.com/prometheus/prometheus/releases/download/v<version>/sha256sums.txt
readonly VERSION=3.13.2
declare -rA SHA256=(
  [amd64]=0e8c4d46101bd025ea8265e377d2caabc57f488fc1be1c367f37db69ea41be6f
  [arm64]=7cecb17a6f41d59814e1a0581a1f81f79051ad5973d1ecf39e23a9f747d6572a
)
readonly HOME_DIR=/opt/prometheus-$VERSION
readonly CONFIG=/etc/prometheus/prometheus.yml

# ParallelCluster deletes the script that it ran; this copy is there to run again.
readonly COPY=/opt/gpu-monitoring/head-node.sh
# A head node that is not ready after 35 minutes fails, and ParallelCluster needs its part of them.
readonly TIME_LIMIT_SECONDS=600

main() {
  REASON='' PRINT_CONFIG=no COMMAND=$COPY
  (($# == 0)) || COMMAND+=$(printf ' %q' "$@")
  trap finish EXIT
  parse_arguments "$@"
  if [[ $PRINT_CONFIG == yes ]]; then
    print_config
    return
  fi
  [[ $EUID -eq 0 ]] || fail "must run as root: use sudo"
  prepare
  install_prometheus
  write_config
  start
  echo "head-node.sh: Prometheus $VERSION sends the metrics of cluster $CLUSTER to $AMP_ENDPOINT"
}

# ---- How it ends

fail() {
  REASON=$*
  exit 1
}

finish() {
  local status=$? message
  rm -rf "${FOLDER:-}"
  ((status != 0)) || exit 0
  message="head-node.sh: ${REASON:-a command failed, see above}"
  if ! in_cluster || [[ $PRINT_CONFIG == yes ]]; then
    echo "$message" >&2
    exit "$status"
  fi
  message+=". The cluster is kept, without metrics. Mend that, then run as root: $COMMAND"
  # ParallelCluster drops the standard error of a script that ends well, so this goes to standard
  # output (/var/log/cfn-init.log), and to the journal.
  echo "$message"
  logger --tag head-node.sh "$message" || true
  exit 0
}

in_cluster() {
  [[ -d /etc/parallelcluster ]]
}

# ---- Arguments

parse_arguments() {
  CLUSTER='' REGION='' AMP_ENDPOINT=''
  while (($# > 0)); do
    case $1 in
      --print-config) PRINT_CONFIG=yes && shift && continue ;;
      --cluster | --region | --amp-endpoint) [[ -n ${2:-} ]] || fail "$1 needs a value" ;;
      *) fail "unknown argument $1: expected --cluster, --region, --amp-endpoint or --print-config" ;;
    esac
    case $1 in
      --cluster) CLUSTER=$2 ;;
      --region) REGION=$2 ;;
      --amp-endpoint) read -r AMP_ENDPOINT <<<"$2" ;;
    esac
    shift 2
  done
  [[ $CLUSTER =~ ^[A-Za-z][A-Za-z0-9-]*$ ]] || fail "--cluster=\"$CLUSTER\": expected the cluster's name"
  [[ $REGION =~ ^[a-z]+(-[a-z]+)+-[0-9]+$ ]] || fail "--region=\"$REGION\": expected a region such as us-east-2"
  # The console and the documents show the address with one or the other path behind the workspace.
  [[ $AMP_ENDPOINT =~ ^(https://[A-Za-z0-9.-]+(:[0-9]+)?/workspaces/ws-[A-Za-z0-9-]+)(/|/api/v1/?|/api/v1/[a-z_]+/?)?$ ]] ||
    fail "--amp-endpoint=\"$AMP_ENDPOINT\": expected the stack's output AMPPrometheusEndpoint"
  AMP_ENDPOINT=${BASH_REMATCH[1]}
}

# ---- What every step needs

prepare() {
  # Neither cfn-init, cfn-hup nor sudo promises these.
  export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin${PATH:+:$PATH}
  umask 022
  in_cluster || return 0
  exec 2>&1
  [[ ! -f $0 || $0 -ef $COPY ]] || install -D --mode 755 "$0" "$COPY" || true
  if [[ -z ${https_proxy:-} && -r /etc/profile.d/proxy.sh ]]; then
    # ParallelCluster's own start reads it; cfn-hup and sudo do not.
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

# ---- Prometheus

install_prometheus() {
  [[ ! -x $HOME_DIR/prometheus ]] || return 0
  local architecture archive
  case $(uname -m) in
    x86_64) architecture=amd64 ;;
    aarch64) architecture=arm64 ;;
    *) fail "$(uname -m): expected x86_64 or aarch64" ;;
  esac
  archive=prometheus-$VERSION.linux-$architecture.tar.gz
  # Beside its place: the last step is one rename, and the files have the label of that folder where
  # SELinux asks for it.
  FOLDER=$(mktemp -d "$HOME_DIR.XXXXXX")
  retry 5 5 bounded curl --fail --silent --show-error --location --proto =https \
    --connect-timeout 10 --max-time 300 --output "$FOLDER/$archive" \
    "https://github.com/prometheus/prometheus/releases/download/v$VERSION/$archive" ||
    fail "cannot download $archive: the head node needs a way to github.com (a public address, or a NAT gateway)"
  echo "${SHA256[$architecture]}  $FOLDER/$archive" | sha256sum --check --status ||
    fail "$archive is not what was released: not installed"
  mkdir "$FOLDER/new"
  tar --extract --gzip --file "$FOLDER/$archive" --directory "$FOLDER/new" --strip-components 1 --no-same-owner
  rm -rf "$HOME_DIR"
  mv "$FOLDER/new" "$HOME_DIR"
}

print_config() {
  cat <<YAML
global:
  scrape_interval: 15s
  scrape_timeout: 10s
  external_labels:
    cluster: $CLUSTER

scrape_configs:
  - job_name: dcgm
$(print_limits)
    ec2_sd_configs:
$(print_compute_nodes 9400)
    relabel_configs:
$(print_node_labels)
    metric_relabel_configs:
      - source_labels: [__name__]
        regex: DCGM_.*
        action: keep

  - job_name: node
    # A node of 192 processors has a thousand of these series, and they change slowly.
    scrape_interval: 60s
$(print_limits)
    ec2_sd_configs:
$(print_compute_nodes 9100)
    relabel_configs:
$(print_node_labels)
    metric_relabel_configs:
      - source_labels: [__name__]
        regex: node_(cpu_seconds_total|load1|memory_Mem(Available|Total)_bytes|disk_io_time_seconds_total|filesystem_(avail|size)_bytes|network_(receive|transmit)_bytes_total)
        action: keep
      - source_labels: [__name__, mode]
        regex: node_cpu_seconds_total;(guest|guest_nice|irq|nice|softirq|steal)
        action: drop

  - job_name: prometheus
    static_configs:
      - targets: [127.0.0.1:9090]
    metric_relabel_configs:
      - source_labels: [__name__]
        regex: prometheus_remote_storage_(samples_failed_total|samples_dropped_total|samples_pending|highest_timestamp_in_seconds|queue_highest_sent_timestamp_seconds)
        action: keep

remote_write:
  - url: $AMP_ENDPOINT/api/v1/remote_write
    # Only where the unit has one.
    proxy_from_environment: true
    sigv4:
      region: $REGION
    queue_config:
      # Amazon Managed Prometheus takes 1 MB a request:
      # https://docs.aws.amazon.com/prometheus/latest/userguide/AMP_quotas.html
      max_samples_per_send: 1000
      capacity: 10000
      max_shards: 20
      batch_send_deadline: 5s
      min_backoff: 100ms
      max_backoff: 10s
      retry_on_http_429: true
YAML
}

# A node that went mad, or was taken over, costs its own scrape: 8 GPUs of 7 MIG instances with 40
# fields are 2,240 samples, and CloudWatch takes 1,024 characters of a label.
print_limits() {
  cat <<'YAML'
    body_size_limit: 16MB
    sample_limit: 10000
    label_limit: 64
    label_value_length_limit: 1024
YAML
}

print_compute_nodes() {
  cat <<YAML
      - region: $REGION
        port: $1
        proxy_from_environment: true
        refresh_interval: 30s
        filters:
          - name: tag:parallelcluster:cluster-name
            values: [$CLUSTER]
          - name: tag:parallelcluster:node-type
            values: [Compute]
          - name: instance-state-name
            values: [running]
YAML
}

print_node_labels() {
  # A target's labels win over those that the node exposes, external_labels don't.
  cat <<YAML
      - source_labels: [__meta_ec2_instance_id]
        target_label: instance_id
      - source_labels: [__meta_ec2_instance_type]
        target_label: instance_type
      - target_label: cluster
        replacement: $CLUSTER
YAML
}

# Says whether the configuration is another one now.
write_config() {
  local new
  mkdir -p "${CONFIG%/*}"
  new=$(mktemp "$CONFIG.XXXXXX")
  print_config >"$new"
  "$HOME_DIR/promtool" check config "$new" >/dev/null || fail "the configuration in $new is not valid"
  CONFIG_CHANGED=no
  if [[ -e $CONFIG && "$(<"$CONFIG")" == "$(<"$new")" ]]; then
    rm "$new"
    return
  fi
  CONFIG_CHANGED=yes
  chmod 644 "$new"
  mv "$new" "$CONFIG"
}

start() {
  local file=/etc/systemd/system/prometheus.service text
  text=$(print_unit)
  if [[ -f $file && "$(<"$file")" == "$text" ]] && systemctl is-enabled --quiet prometheus && systemctl is-active --quiet prometheus; then
    # Not restarted: it would read hours of its write-ahead log first.
    [[ $CONFIG_CHANGED == no ]] || bounded systemctl reload prometheus || fail "Prometheus does not take the new configuration: see journalctl --unit prometheus"
  else
    echo "$text" >"$file"
    systemctl daemon-reload
    systemctl enable --quiet prometheus
    bounded systemctl restart prometheus || fail "Prometheus does not start: see journalctl --unit prometheus"
  fi
  retry 60 2 is_ready || fail "Prometheus does not answer on port 9090: see journalctl --unit prometheus"
}

is_ready() {
  curl --fail --silent --noproxy '*' --max-time 5 --output /dev/null http://127.0.0.1:9090/-/ready
}

# ParallelCluster lets only root reach the instance's credentials (HeadNode/Imds/Secured), so
# Prometheus is root by number, without any of root's capabilities.
# What cannot be sent waits in the write-ahead log, which Prometheus keeps for two to three hours;
# Amazon Managed Prometheus takes samples up to one hour old.
print_unit() {
  cat <<UNIT
[Unit]
Description=Prometheus, sends the metrics of the compute nodes to Amazon Managed Prometheus
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
ExecStart=$HOME_DIR/prometheus \\
  --config.file=$CONFIG \\
  --storage.tsdb.path=/var/lib/prometheus \\
  --storage.tsdb.retention.time=6h \\
  --storage.tsdb.retention.size=4GB \\
  --web.listen-address=127.0.0.1:9090
ExecReload=/bin/kill -HUP \$MAINPID
Restart=always
RestartSec=5
StateDirectory=prometheus
CapabilityBoundingSet=
NoNewPrivileges=yes
PrivateDevices=yes
PrivateTmp=yes
ProtectControlGroups=yes
ProtectHome=yes
ProtectKernelTunables=yes
ProtectSystem=strict
$(print_proxy)

[Install]
WantedBy=multi-user.target
UNIT
}

# systemd starts services without this shell's environment.
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
