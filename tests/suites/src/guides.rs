//! What people rely on who come from the guides of *parallelcluster-for-llm-training*: names that stay the
//! same, and what the guides' daemon and set-up have left behind.
//! <https://github.com/soonyoungsa-dotcom/parallelcluster-for-llm-training/tree/07bdcd86a8147799084f6489b82e31c73da8af0d>

/// `guide/DCGM-TO-CLOUDWATCH.md`, where metrics are listed; `config/cloudwatch/dcgm-to-cloudwatch.sh`
pub const NAMESPACE: &str = "ParallelCluster/${CLUSTER_NAME}/GPU";

/// Series, metric and unit. `guide/DCGM-TO-CLOUDWATCH.md`, table of collected metrics
pub const METRICS: [(&str, &str, &str); 6] = [
    ("DCGM_FI_DEV_GPU_UTIL", "GPUUtilization", "Percent"),
    (
        "DCGM_FI_DEV_MEM_COPY_UTIL",
        "GPUMemoryUtilization",
        "Percent",
    ),
    ("DCGM_FI_DEV_GPU_TEMP", "GPUTemperature", "None"),
    ("DCGM_FI_DEV_POWER_USAGE", "GPUPowerUsage", "None"),
    ("DCGM_FI_DEV_FB_USED", "GPUMemoryUsed", "Megabytes"),
    ("DCGM_FI_DEV_FB_FREE", "GPUMemoryFree", "Megabytes"),
];

/// `guide/DCGM-TO-CLOUDWATCH.md`, "Dimensions"
pub const DIMENSIONS: [&str; 2] = ["InstanceId", "GPU"];

/// `parallelcluster-infrastructure.yaml`; `guide/AMP-AMG-SETUP.md`, troubleshooting
pub const SET_UP_FUNCTION: &str = "${AWS::StackName}-grafana-datasource-setup";

/// `guide/AMP-AMG-SETUP.md`, check of the data source
pub const DATA_SOURCE: &str = "Amazon Managed Prometheus";

/// `parallelcluster-infrastructure.yaml`, outputs with `MonitoringType=amp+amg`, but for the network's
pub const OUTPUTS: [&str; 14] = [
    "MonitoringType",
    "AMPWorkspaceId",
    "AMPWorkspaceArn",
    "AMPPrometheusEndpoint",
    "AMPRemoteWritePolicyArn",
    "AMPQueryPolicyArn",
    "ManagedGrafanaWorkspaceId",
    "ManagedGrafanaWorkspaceEndpoint",
    "ManagedGrafanaWorkspaceStatus",
    "ManagedGrafanaRoleArn",
    "GrafanaDashboardManagerRoleArn",
    "GrafanaDashboardManagerRoleName",
    "GrafanaAccessInstructions",
    "GrafanaDataSourceStatus",
];

/// What there is to stop or to remove. `config/cloudwatch/dcgm-to-cloudwatch.sh`,
/// `guide/DCGM-TO-CLOUDWATCH.md` and `parallelcluster-infrastructure.yaml`
pub const LEFT_BEHIND: [&str; 9] = [
    "systemctl disable --now dcgm-cloudwatch-exporter",
    "/opt/dcgm-cloudwatch-exporter",
    "/etc/systemd/system/dcgm-cloudwatch-exporter.service",
    "setup-headnode.sh",
    "config/cloudwatch/dcgm-to-cloudwatch.sh",
    "GrafanaDataSourceSetupTrigger",
    "GrafanaSetupLambdaRole",
    "GrafanaDataSourceSetup",
    "--key-name datasource-setup",
];
