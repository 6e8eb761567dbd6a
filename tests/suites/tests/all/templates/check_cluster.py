"""Holds cluster configurations to all that `pcluster create-cluster` checks before it creates
anything: schema and validators. Prints for each file the configuration and what was found, as JSON.

    check_cluster.py CLUSTER FILE...

AWS is a table of answers. Any other call ends the check, and so does an answer that botocore's own
model of the service does not allow.
"""

import json
import os
import pathlib
import sys

import yaml

# boto3 wants a region and credentials before any call.
os.environ.update(AWS_DEFAULT_REGION="us-east-2", AWS_ACCESS_KEY_ID="AKIDEXAMPLE", AWS_SECRET_ACCESS_KEY="secret")

from botocore.client import BaseClient  # noqa: E402
from botocore.exceptions import ClientError  # noqa: E402
from botocore.validate import validate_parameters  # noqa: E402
from pcluster.aws.aws_api import AWSApi  # noqa: E402
from pcluster.aws.common import Cache  # noqa: E402
from pcluster.models.cluster import Cluster, ConfigValidationError  # noqa: E402
from pcluster.utils import get_installed_version  # noqa: E402
from pcluster.validators.common import FailureLevel  # noqa: E402


def main():
    [_, name, *files] = sys.argv
    json.dump([check(name, pathlib.Path(file).read_text(encoding="utf-8")) for file in files], sys.stdout)


def check(name, text):
    configuration = yaml.safe_load(text)
    answers = Answers(configuration["Image"]["Os"])
    BaseClient._make_api_call = lambda client, operation, asked: answers.give(client, operation, asked)
    # What it remembers of AWS is that of the configuration before.
    AWSApi.reset()
    Cache.clear_all()
    try:
        found = Cluster(name, text).validate_create_request(set(), FailureLevel.ERROR)
    except ConfigValidationError as error:
        found = error.validation_failures
        if not found:
            raise
    found = sorted(f"{failure.level.name} {failure.validator_type}: {failure.message}" for failure in found)
    return {"configuration": configuration, "found": found}


class Answers:
    def __init__(self, system):
        self.system = system
        self.table = {
            "cloudformation:DescribeStacks": no_such_stack,
            "ec2:DescribeImages": self.image,
            "ec2:DescribeInstanceTypeOfferings": lambda _: {
                "InstanceTypeOfferings": [{"InstanceType": name} for name in INSTANCE_TYPES]
            },
            "ec2:DescribeInstanceTypes": lambda asked: {
                "InstanceTypes": [INSTANCE_TYPES[name]() for name in asked["InstanceTypes"]]
            },
            # Ubuntu takes no RSA keys.
            "ec2:DescribeKeyPairs": lambda asked: {
                "KeyPairs": [{"KeyName": name, "KeyType": "ed25519"} for name in asked["KeyNames"]]
            },
            "ec2:DescribeSubnets": lambda asked: {"Subnets": [subnet(name) for name in asked["SubnetIds"]]},
            "ec2:RunInstances": dry_run,
            "iam:GetPolicy": lambda asked: {"Policy": {"Arn": asked["PolicyArn"]}},
            "s3:HeadObject": lambda _: {},
        }

    def give(self, client, operation, asked):
        service = client.meta.service_model
        name = f"{service.service_name}:{operation}"
        if name not in self.table:
            # Validators turn an exception into a finding of theirs, which must not pass for AWS's own.
            print(f"{name} has no answer: {asked}", file=sys.stderr, flush=True)
            os._exit(1)
        model = service.operation_model(operation)
        validate_parameters(asked, model.input_shape)
        answer = self.table[name](asked)
        validate_parameters(answer, model.output_shape)
        return answer

    def image(self, asked):
        """The official image that is looked for by its name, or one of `pcluster build-image`."""
        names = [name for found in asked.get("Filters", []) if found["Name"] == "name" for name in found["Values"]]
        tags = {"version": get_installed_version(), "os": self.system, "build_status": "available"}
        image = {
            "ImageId": "ami-0123456789abcdef0",
            "Name": names[0].rstrip("*") if names else "my-image",
            "Architecture": "x86_64",
            "State": "available",
            "CreationDate": "2026-01-01T00:00:00.000Z",
            "Tags": [{"Key": f"parallelcluster:{key}", "Value": value} for key, value in tags.items()],
            "BlockDeviceMappings": [{"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 45}}],
        }
        return {"Images": [image]}


def no_such_stack(_):
    raise ClientError({"Error": {"Code": "ValidationError", "Message": "Stack does not exist"}}, "DescribeStacks")


def dry_run(asked):
    assert asked["DryRun"]
    raise ClientError({"Error": {"Code": "DryRunOperation", "Message": "it would have succeeded"}}, "RunInstances")


def subnet(name):
    return {
        "SubnetId": name,
        "VpcId": "vpc-0123456789abcdef0",
        "AvailabilityZone": "us-east-2a",
        "AvailableIpAddressCount": 4091,
    }


def instance_type(name, vcpus, memory_gib, network_cards=1, **more):
    return {
        "InstanceType": name,
        "SupportedUsageClasses": ["on-demand", "spot"],
        "ProcessorInfo": {"SupportedArchitectures": ["x86_64"]},
        "VCpuInfo": {"DefaultVCpus": vcpus, "DefaultCores": vcpus // 2, "DefaultThreadsPerCore": 2},
        "MemoryInfo": {"SizeInMiB": memory_gib * 1024},
        "EbsInfo": {"EbsOptimizedSupport": "default"},
        "PlacementGroupInfo": {"SupportedStrategies": ["cluster", "partition", "spread"]},
        "NetworkInfo": {
            "NetworkCards": [{"NetworkCardIndex": card, "MaximumNetworkInterfaces": 4} for card in range(network_cards)],
            "EfaSupported": network_cards > 1,
            "EfaInfo": {"MaximumEfaInterfaces": network_cards},
        },
        **more,
    }


H200 = {"Name": "H200", "Manufacturer": "NVIDIA", "Count": 8}
# Made anew for each answer: ParallelCluster changes what it gets.
INSTANCE_TYPES = {
    "m7i.2xlarge": lambda: instance_type("m7i.2xlarge", 8, 32),
    "p5en.48xlarge": lambda: instance_type("p5en.48xlarge", 192, 2048, 16, GpuInfo={"Gpus": [H200]}),
}


if __name__ == "__main__":
    main()
