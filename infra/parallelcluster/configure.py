#!/usr/bin/env python3
"""Writes the cluster configuration for a deployed stack and uploads the nodes' set-up scripts.

    configure.py --stack pcluster-infra --bucket BUCKET > cluster.yaml
    pcluster create-cluster --cluster-name NAME --cluster-configuration cluster.yaml

The cluster must bear the name the stack was deployed for (parameter ClusterName).
"""

import argparse
import json
import pathlib
import string
import subprocess
import sys

FOLDER = pathlib.Path(__file__).resolve().parent
PREFIX = "gpu-monitoring/nodes"
SCRIPTS = ("head-node.sh", "compute-node.sh")


def main():
    arguments = parse_arguments()
    try:
        stack = describe(arguments.stack)
        for script in SCRIPTS:
            aws("s3", "cp", FOLDER / script, f"s3://{arguments.bucket}/{PREFIX}/{script}", "--only-show-errors")
        print(render(values(stack, arguments)), end="")
    except ValueError as error:
        sys.exit(f"configure: {error}")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stack", required=True)
    parser.add_argument("--bucket", required=True, help="S3 bucket for the set-up scripts")
    parser.add_argument("--head-node-subnet", help="default: the stack's PublicSubnetId")
    parser.add_argument("--compute-subnet", help="default: the stack's PrivateSubnetId")
    return parser.parse_args()


def describe(stack):
    [description] = json.loads(aws("cloudformation", "describe-stacks", "--stack-name", stack, "--output", "json"))["Stacks"]
    return description


def values(stack, arguments):
    """What the configuration's ${...} stand for."""
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}
    parameters = {parameter["ParameterKey"]: parameter["ParameterValue"] for parameter in stack.get("Parameters", [])}
    _, partition, _, region, *_ = stack["StackId"].split(":")
    found = {
        "partition": partition,
        "region": region,
        "bucket": arguments.bucket,
        "prefix": PREFIX,
        "cluster": parameters.get("ClusterName"),
        "amp_endpoint": outputs.get("AMPPrometheusEndpoint"),
        "remote_write_policy": outputs.get("AMPRemoteWritePolicyArn"),
        "head_node_subnet": arguments.head_node_subnet or outputs.get("PublicSubnetId"),
        "compute_subnet": arguments.compute_subnet or outputs.get("PrivateSubnetId"),
    }
    missing = sorted(name for name, value in found.items() if not value)
    if missing:
        raise ValueError(f"stack {stack['StackName']} does not say {', '.join(missing)}: see --help")
    return found


def render(found):
    # The template's own comment is not for the reader of the result.
    text = (FOLDER / "cluster.yaml").read_text()
    return string.Template(text[text.index("Region:"):]).substitute(found)


def aws(*arguments):
    run = subprocess.run(["aws", *arguments], capture_output=True, text=True, check=False)
    if run.returncode != 0:
        raise ValueError(run.stderr.strip())
    return run.stdout


if __name__ == "__main__":
    main()
