#!/bin/bash
# Sets up Prometheus on the head node: it scrapes every compute node and sends what it reads to
# Amazon Managed Prometheus. Safe to run again; a changed setting or version takes effect then.
#
#   head-node.sh --cluster NAME --region REGION --amp-endpoint URL [--print-config]
#
# ParallelCluster runs it as OnNodeConfigured, as root.
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

main() {
  parse_arguments "$@"
  if [[ $PRINT_CONFIG == yes ]]; then
    print_config
    return
  fi
  [[ $EUID -eq 0 ]] || fail "must run as root: use sudo"
  install_prometheus
  write_config
  start
  echo "head-node.sh: Prometheus $VERSION sends the metrics of cluster $CLUSTER to $AMP_ENDPOINT"
}

fail() {
  echo "head-node.sh: $*" >&2
  exit 1
}

parse_arguments() {
  CLUSTER='' REGION='' AMP_ENDPOINT='' PRINT_CONFIG=no
  while (($# > 0)); do
    case $1 in
      --print-config) PRINT_CONFIG=yes && shift && continue ;;
      --cluster | --region | --amp-endpoint) [[ -n ${2:-} ]] || fail "$1 needs a value" ;;
      *) fail "unknown argument $1: expected --cluster, --region, --amp-endpoint or --print-config" ;;
    esac
    case $1 in
      --cluster) CLUSTER=$2 ;;
      --region) REGION=$2 ;;
      --amp-endpoint) AMP_ENDPOINT=${2%/} ;;
    esac
    shift 2
  done
  [[ $CLUSTER =~ ^[A-Za-z][A-Za-z0-9-]*$ ]] || fail "--cluster=\"$CLUSTER\": expected the cluster's name"
  [[ $REGION =~ ^[a-z]{2}(-[a-z]+)+-[0-9]$ ]] || fail "--region=\"$REGION\": expected a region such as us-east-2"
  [[ $AMP_ENDPOINT =~ ^https://[^/]+/workspaces/ws-[0-9a-f-]+$ ]] ||
    fail "--amp-endpoint=\"$AMP_ENDPOINT\": expected the stack's output AMPPrometheusEndpoint"
}

install_prometheus() {
  [[ ! -x $HOME_DIR/prometheus ]] || return 0
  local architecture archive folder
  architecture=$(release_architecture)
  archive=prometheus-$VERSION.linux-$architecture.tar.gz
  folder=$(mktemp -d)
  # shellcheck disable=SC2064 # the folder of now, not that of the time of exit
  trap "rm -rf '$folder'" EXIT
  curl --fail --silent --show-error --location --retry 5 --retry-all-errors --output "$folder/$archive" \
    "https://github.com/prometheus/prometheus/releases/download/v$VERSION/$archive" ||
    fail "cannot download $archive: the head node needs a way to github.com"
  echo "${SHA256[$architecture]}  $folder/$archive" | sha256sum --check --quiet ||
    fail "$archive is not what was released: not installed"
  mkdir -p "$folder/new"
  tar --extract --gzip --file "$folder/$archive" --directory "$folder/new" --strip-components 1 --no-same-owner
  rm -rf "$HOME_DIR"
  mv "$folder/new" "$HOME_DIR"
  chmod 755 "$HOME_DIR"
}

release_architecture() {
  case $(uname -m) in
    x86_64) echo amd64 ;;
    aarch64) echo arm64 ;;
    *) fail "$(uname -m): expected x86_64 or aarch64" ;;
  esac
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

write_config() {
  local new
  mkdir -p "${CONFIG%/*}"
  new=$(mktemp "$CONFIG.XXXXXX")
  print_config >"$new"
  "$HOME_DIR/promtool" check config "$new" >/dev/null || fail "the configuration in $new is not valid"
  chmod 644 "$new"
  mv "$new" "$CONFIG"
}

start() {
  # ParallelCluster lets only root reach the instance's credentials (HeadNode/Imds/Secured), so
  # Prometheus is root by number, without any of root's capabilities.
  # What cannot be sent waits in the write-ahead log, which Prometheus keeps for two to three hours;
  # Amazon Managed Prometheus takes samples up to one hour old.
  cat >/etc/systemd/system/prometheus.service <<UNIT
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

[Install]
WantedBy=multi-user.target
UNIT
  systemctl daemon-reload
  systemctl enable --quiet prometheus
  systemctl restart prometheus
  curl --fail --silent --output /dev/null --retry 30 --retry-delay 1 --retry-all-errors http://127.0.0.1:9090/-/ready ||
    fail "Prometheus does not start: see journalctl --unit prometheus"
}

main "$@"
