"""Runs the AWS CLI; where it fails, says what to do about it if the CLI's own words do not."""

import os
import re
import subprocess

# https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")

# Words of an error -> what to do; {region} is the region that was asked.
REMEDIES = {
    "Unable to locate credentials": "Or name a profile of yours in AWS_PROFILE. `make deploy-tools` puts aws into .venv/bin.",
    "xpired": "Sign in again, or take new credentials.",
    "Could not connect to the endpoint URL": "Is there a region {region}, and a network here?",
    "doesn't match a supported format": "Expected a region such as us-east-2.",
    "InvalidClientTokenId": "Is the access key right, and is {region} switched on for its account?",
    "UnrecognizedClientException": "Is the access key right, and is {region} switched on for its account?",
    "AccessDenied) when calling the PutObject": "Is it your bucket, and may you write to it?",
    "does not exist": "To list the stacks in {region}: aws cloudformation describe-stacks --region {region} "
    "--query 'Stacks[].StackName'",
}


def aws(*arguments):
    """What it prints."""
    try:
        run = subprocess.run(["aws", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise ValueError("the AWS CLI is missing: `make deploy-tools` puts it into .venv/bin, which has to be on PATH") from None
    if run.returncode != 0:
        error = run.stderr.strip()
        raise ValueError(f"aws {' '.join(arguments[:2])}: {error}{remedy(error)}")
    return run.stdout


def remedy(error):
    for words, text in REMEDIES.items():
        if words in error:
            return "\n" + text.format(region=region() or "the region")
    return ""


def region():
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
