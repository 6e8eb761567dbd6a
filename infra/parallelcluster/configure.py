#!/usr/bin/env python3
"""Writes the cluster configuration for a deployed stack and uploads the nodes' set-up scripts.

    configure.py --stack pcluster-infra --bucket BUCKET > cluster.yaml
    pcluster create-cluster --cluster-name NAME --cluster-configuration cluster.yaml

The cluster must bear the name the stack was deployed for (parameter ClusterName). Nothing is
uploaded before every option and every output of the stack has been checked.
"""

import argparse
import ipaddress
import json
import pathlib
import re
import string
import sys

FOLDER = pathlib.Path(__file__).resolve().parent
# Where cli.py is.
sys.path.insert(0, str(FOLDER.parent))
import cli

PREFIX = "gpu-monitoring/nodes"
SCRIPTS = ("head-node.sh", "compute-node.sh")

# Those of ParallelCluster 3.16, which the set-up scripts know.
SYSTEMS = ("alinux2023", "ubuntu2204", "ubuntu2404", "rhel8", "rhel9", "rocky8", "rocky9")
# The agent of Session Manager is in the images of these, as AWS publishes them:
# https://docs.aws.amazon.com/systems-manager/latest/userguide/ami-preinstalled-agent.html
WITH_SESSION_MANAGER = ("alinux2023", "ubuntu2204", "ubuntu2404")
# AWS publishes no ParallelCluster image of these: `pcluster build-image` makes one.
WITHOUT_IMAGE = ("rocky8", "rocky9")
# No packet has this source address, so the rule lets nobody in.
NOBODY = "255.255.255.255/32"

CLUSTER_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,59}")
SUBNET = re.compile(r"subnet-([0-9a-f]{8}|[0-9a-f]{17})")
IMAGE = re.compile(r"ami-([0-9a-f]{8}|[0-9a-f]{17})")
PREFIX_LIST = re.compile(r"pl-[0-9a-f]{8,17}")


def main():
    arguments = parse_arguments()
    try:
        configuration = render(values(describe(arguments.stack), arguments))
        for script in SCRIPTS:
            cli.aws("s3", "cp", FOLDER / script, f"s3://{arguments.bucket}/{PREFIX}/{script}", "--only-show-errors")
    except ValueError as error:
        sys.exit(f"configure: {error}")
    print(configuration, end="")
    for note in notes(arguments):
        print(f"configure: note: {note}", file=sys.stderr)


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--stack", required=True, help="the deployed stack")
    parser.add_argument("--bucket", required=True, type=bucket, help="S3 bucket for the set-up scripts, its name alone")
    parser.add_argument(
        "--os", choices=SYSTEMS, default="ubuntu2204", help="operating system of all nodes (default: %(default)s)"
    )
    parser.add_argument(
        "--custom-ami",
        type=image,
        metavar="AMI",
        help="image of that system made with `pcluster build-image`; Rocky Linux has no other",
    )
    parser.add_argument(
        "--head-node-subnet",
        type=subnet,
        metavar="SUBNET",
        help="default: the stack's PublicSubnetId, or its PrivateSubnetId with --private-head-node",
    )
    parser.add_argument("--compute-subnet", type=subnet, metavar="SUBNET", help="default: the stack's PrivateSubnetId")
    parser.add_argument(
        "--private-head-node",
        action="store_true",
        help="give the head node no public address. Its subnet then needs another way to the internet, such as "
        "a NAT gateway. Without this option it gets an Elastic IP",
    )
    parser.add_argument(
        "--allowed-ips",
        type=ip_range,
        metavar="CIDR",
        help="who reaches the head node by SSH: an IPv4 range such as 203.0.113.0/24, or a prefix list. "
        "Default: nobody; use Session Manager",
    )
    parser.add_argument("--key-name", metavar="KEY", help="EC2 key pair to log in with by SSH. Default: none")
    arguments = parser.parse_args()
    if arguments.os in WITHOUT_IMAGE and not arguments.custom_ami:
        parser.error(f"--os {arguments.os} needs --custom-ami: AWS publishes no image of it for ParallelCluster")
    return arguments


def bucket(text):
    return matching(cli.BUCKET, text, "expected the name of a bucket, such as my-bucket")


def subnet(text):
    return matching(SUBNET, text, "expected the id of a subnet, such as subnet-0123456789abcdef0")


def image(text):
    return matching(IMAGE, text, "expected the id of an image, such as ami-0123456789abcdef0")


def matching(pattern, text, expected):
    if not pattern.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r}: {expected}")
    return text


def ip_range(text):
    """A range as ParallelCluster takes it: a single address gets its /32."""
    if PREFIX_LIST.fullmatch(text):
        return text
    try:
        return str(ipaddress.IPv4Network(text, strict=False))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r}: expected an IPv4 range such as 203.0.113.0/24, or a prefix list such as pl-0123456789abcdef0"
        ) from None


def describe(stack):
    answer = cli.aws("cloudformation", "describe-stacks", "--stack-name", stack, "--output", "json")
    [description] = json.loads(answer)["Stacks"]
    return description


def values(stack, arguments):
    """What the configuration's ${...} stand for."""
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}
    parameters = {parameter["ParameterKey"]: parameter["ParameterValue"] for parameter in stack.get("Parameters", [])}
    head_node_subnet = "PrivateSubnetId" if arguments.private_head_node else "PublicSubnetId"
    # What the stack has to say, by the name it has there.
    needed = {
        "parameter ClusterName": parameters.get("ClusterName"),
        "output AMPPrometheusEndpoint": outputs.get("AMPPrometheusEndpoint"),
        "output AMPRemoteWritePolicyArn": outputs.get("AMPRemoteWritePolicyArn"),
        f"output {head_node_subnet} (or --head-node-subnet)": arguments.head_node_subnet
        or outputs.get(head_node_subnet),
        "output PrivateSubnetId (or --compute-subnet)": arguments.compute_subnet or outputs.get("PrivateSubnetId"),
    }
    missing = [name for name, value in needed.items() if not value]
    if missing:
        raise ValueError(f"stack {stack['StackName']} ({stack['StackStatus']}) has no {', no '.join(missing)}")
    cluster, amp_endpoint, remote_write_policy, head_node_subnet, compute_subnet = needed.values()
    if not CLUSTER_NAME.fullmatch(cluster):
        raise ValueError(
            f"stack {stack['StackName']}: ClusterName={cluster!r}: expected up to 60 letters, digits and dashes"
        )
    _, partition, _, region, *_ = stack["StackId"].split(":")
    return {
        "partition": partition,
        "region": region,
        "os": arguments.os,
        "custom_ami": arguments.custom_ami,
        "bucket": arguments.bucket,
        "prefix": PREFIX,
        "cluster": cluster,
        "amp_endpoint": amp_endpoint,
        "remote_write_policy": remote_write_policy,
        "head_node_subnet": head_node_subnet,
        "elastic_ip": str(not arguments.private_head_node).lower(),
        "allowed_ips": arguments.allowed_ips or NOBODY,
        # Quoted: a key pair's name may hold what YAML has a meaning for.
        "key_name": json.dumps(arguments.key_name) if arguments.key_name else None,
        "compute_subnet": compute_subnet,
    }


def render(found):
    text = (FOLDER / "cluster.yaml").read_text(encoding="utf-8")
    # The template's own comment is not for the reader of the result.
    lines = text[text.index("Region:") :].splitlines(keepends=True)
    # A line for what was not asked for is left out.
    for name in [name for name, value in found.items() if value is None]:
        lines = [line for line in lines if f"${{{name}}}" not in line]
    return string.Template("".join(lines)).substitute(found)


def notes(arguments):
    """What keeps people out of the head node, while the cluster itself works."""
    if arguments.allowed_ips and not arguments.key_name:
        yield "--allowed-ips opens SSH, but nobody has a key: add --key-name"
    if arguments.key_name and not arguments.allowed_ips:
        yield "--key-name alone lets nobody in: add --allowed-ips"
    if arguments.os not in WITH_SESSION_MANAGER and not (arguments.allowed_ips and arguments.key_name):
        yield f"images of {arguments.os} may have no agent of Session Manager: add --allowed-ips and --key-name to log in"


if __name__ == "__main__":
    main()
