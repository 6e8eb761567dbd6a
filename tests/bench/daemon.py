"""One cycle of a daemon on the head node, as the ParallelCluster guides describe it.

Six instant queries one after the other, the local Prometheus unsigned, then PutMetricData with 20
metrics a call, one call after the other. Tells what the cycle took; loading Python and boto3 is
not counted, for a daemon does that once.
"""

import argparse
import datetime
import json
import resource
import time

import boto3
import requests

METRICS = {
    "DCGM_FI_DEV_GPU_UTIL": ("GPUUtilization", "Percent"),
    "DCGM_FI_DEV_MEM_COPY_UTIL": ("GPUMemoryUtilization", "Percent"),
    "DCGM_FI_DEV_GPU_TEMP": ("GPUTemperature", "None"),
    "DCGM_FI_DEV_POWER_USAGE": ("GPUPowerUsage", "None"),
    "DCGM_FI_DEV_FB_USED": ("GPUMemoryUsed", "Megabytes"),
    "DCGM_FI_DEV_FB_FREE": ("GPUMemoryFree", "Megabytes"),
}
BATCH = 20


def cycle(prometheus, at, cloudwatch):
    """Publishes every series' present value; returns the number of calls."""
    metrics = []
    now = datetime.datetime.now(datetime.timezone.utc)
    for field, (name, unit) in METRICS.items():
        answer = requests.get(
            f"{prometheus}/api/v1/query", params={"query": field, "time": at}, timeout=60
        )
        answer.raise_for_status()
        for series in answer.json()["data"]["result"]:
            labels = series["metric"]
            metrics.append(
                {
                    "MetricName": name,
                    "Dimensions": [
                        {"Name": "InstanceId", "Value": labels["instance_id"]},
                        {"Name": "GPU", "Value": labels["gpu"]},
                    ],
                    "Value": float(series["value"][1]),
                    "Unit": unit,
                    "Timestamp": now,
                }
            )
    for first in range(0, len(metrics), BATCH):
        cloudwatch.put_metric_data(
            Namespace="ParallelCluster/p5en/GPU", MetricData=metrics[first : first + BATCH]
        )
    return -(-len(metrics) // BATCH)


def main():
    """Runs a cycle and tells its cost as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prometheus", required=True)
    parser.add_argument("--time", required=True)
    parser.add_argument("--cloudwatch", required=True)
    arguments = parser.parse_args()
    cloudwatch = boto3.client(
        "cloudwatch",
        endpoint_url=arguments.cloudwatch,
        region_name="us-east-2",
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key="example",
    )
    wall, cpu = time.perf_counter(), time.process_time()
    calls = cycle(arguments.prometheus, arguments.time, cloudwatch)
    print(
        json.dumps(
            {
                "wall_seconds": time.perf_counter() - wall,
                "cpu_seconds": time.process_time() - cpu,
                "rss_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
                "requests": calls,
            }
        )
    )


if __name__ == "__main__":
    main()
