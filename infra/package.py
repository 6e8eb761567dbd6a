#!/usr/bin/env python3
"""Packages the stack: built functions and templates go to S3, templates ready to deploy come back.

    package.py --bucket BUCKET [--build target/lambda] [--output build/package] [--xid-overrides FILE] [--check]

Leaves the templates that a stack can be made of in the output folder; the others are parts of
them. The same build gives the same zips, so nothing is uploaded or redeployed without a change.
"""

import argparse
import hashlib
import pathlib
import re
import sys
import zipfile

import cli
import rules

INFRA = pathlib.Path(__file__).resolve().parent
ENTRY_POINTS = (
    "parallelcluster-infrastructure.yaml",
    "monitoring.yaml",
    "metrics.yaml",
    "alarms.yaml",
    "health.yaml",
    "efficiency.yaml",
)
TEMPLATES = (*ENTRY_POINTS, "network.yaml", "topic.yaml", "prometheus.yaml", "grafana.yaml")
# Where in the bucket.
PREFIX = "gpu-monitoring"
FUNCTIONS = ("dcgm-to-cloudwatch", "grafana-datasource-setup")

# A comment that names a text of rules/, and what stands there until it is put in.
MARK = re.compile(r"(?P<indent> +)# rules/(?P<name>[a-z.]+) .*: package\.py puts .*\n(?:(?P=indent).*\n)+")

# e_machine of the ELF header -> Lambda's name of the architecture
ARCHITECTURES = {0x3E: "x86_64", 0xB7: "arm64"}


def main():
    arguments = parse_arguments()
    stage = arguments.output / "stage"
    try:
        if arguments.check:
            check(arguments)
            return
        stage.mkdir(parents=True, exist_ok=True)
        binaries = {name: arguments.build / name / "bootstrap" for name in FUNCTIONS}
        architecture = common_architecture(binaries.values())
        for name, binary in binaries.items():
            write_zip(binary, stage / f"{name}.zip")
        revision = digest(stage / "grafana-datasource-setup.zip")
        for template in TEMPLATES:
            text = put_rules_in((INFRA / template).read_text(), arguments.xid_overrides)
            (stage / template).write_text(stamp(text, architecture, revision))
        print(f"uploading to s3://{arguments.bucket}/{PREFIX}", flush=True)
        for template in ENTRY_POINTS:
            package(stage / template, arguments.output / template, arguments.bucket)
    except (OSError, ValueError) as error:
        sys.exit(f"package: {error}")
    print(f"packaged for {architecture}: {arguments.output / ENTRY_POINTS[0]}")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bucket", required=True, help="S3 bucket in the region of the stack")
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path("target/lambda"))
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("build/package"))
    parser.add_argument("--xid-overrides", type=pathlib.Path, metavar="FILE", help="classes of XIDs, see infra/rules.py")
    parser.add_argument("--check", action="store_true", help="only check the bucket and FILE, before all is built")
    return parser.parse_args()


def check(arguments):
    if not cli.BUCKET.fullmatch(arguments.bucket):
        raise ValueError(f"BUCKET={arguments.bucket}: expected the name of a bucket alone, such as my-bucket")
    check_bucket(arguments.bucket, cli.region())
    for template in TEMPLATES:
        put_rules_in((INFRA / template).read_text(), arguments.xid_overrides)


def check_bucket(bucket, region):
    """CloudFormation reads templates and functions from a bucket in the stack's region only."""
    try:
        there = cli.aws("s3api", "head-bucket", "--bucket", bucket, "--query", "BucketRegion", "--output", "text").strip()
    except ValueError as error:
        if "(404)" in str(error):
            raise ValueError(f"there is no bucket {bucket}; to make it: aws s3 mb s3://{bucket} --region {region}") from None
        if "(403)" not in str(error):
            raise
        # Another account's, or one's own that one may write to, but not ask for.
        cli.aws("s3", "cp", INFRA / "network.yaml", f"s3://{bucket}/{PREFIX}/network.yaml", "--only-show-errors")
        return
    if region and there not in ("None", region):
        raise ValueError(f"bucket {bucket} is in {there}, and the stack's region is {region}: name a bucket in {region}")


def put_rules_in(text, xid_overrides):
    """The template with the texts that its marks stand for, each at the mark's indentation."""

    def put(match):
        name, indent = match["name"], match["indent"]
        body = rules.definition() if name == "alertmanager.yaml" else rules.render(name, None, xid_overrides)
        return "".join(f"{indent}{line}" if line.strip() else line for line in body.splitlines(keepends=True))

    return MARK.sub(put, text)


def common_architecture(binaries):
    found = {architecture_of(binary) for binary in binaries}
    if len(found) > 1:
        raise ValueError(f"the functions were built for {' and '.join(sorted(found))}: build both for one")
    return found.pop()


def architecture_of(binary):
    if not binary.is_file():
        raise ValueError(f"{binary} is missing: run make build first")
    with binary.open("rb") as file:
        header = file.read(20)
    machine = int.from_bytes(header[18:20], "little")
    if header[:4] != b"\x7fELF" or machine not in ARCHITECTURES:
        raise ValueError(f"{binary} is no Linux program for arm64 or x86_64: run make build again")
    return ARCHITECTURES[machine]


def write_zip(binary, target):
    """A zip that depends on the program alone, not on when or by whom it was built."""
    entry = zipfile.ZipInfo("bootstrap", date_time=(1980, 1, 1, 0, 0, 0))
    entry.external_attr = 0o755 << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr(entry, binary.read_bytes())


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def stamp(text, architecture, revision):
    """Tells the template what was built: a stack refuses the other architecture, and a new
    revision of the set-up function runs it again."""
    text = text.replace("CodeRevision: unpackaged", f"CodeRevision: r{revision}")
    return text.replace(
        "    Default: arm64\n    AllowedValues: [arm64, x86_64]\n    ConstraintDescription: arm64 or x86_64\n",
        f"    Default: {architecture}\n    AllowedValues: [{architecture}]\n"
        f"    ConstraintDescription: {architecture}, which this package was built for\n",
    )


def package(template, output, bucket):
    command = ["cloudformation", "package", "--template-file", template, "--s3-bucket", bucket]
    cli.aws(*command, "--s3-prefix", PREFIX, "--output-template-file", output)


if __name__ == "__main__":
    main()
