#!/usr/bin/env python3
"""Says why a stack's last operation failed, deletes a stack and says what of it is kept, or refuses to update
a stack of another template.

    stack.py updatable --stack pcluster-infra
    stack.py there --stack pcluster-infra
    stack.py failures --stack pcluster-infra
    stack.py delete --stack pcluster-infra

Stacks in the stack are read as well: CloudFormation says of them only that they failed.
"""

import argparse
import datetime
import json
import sys

import cli

STACK = "AWS::CloudFormation::Stack"
# What an operation of a stack begins with.
BEGINNINGS = ("CREATE_IN_PROGRESS", "UPDATE_IN_PROGRESS", "DELETE_IN_PROGRESS", "IMPORT_IN_PROGRESS")
# Said of what was stopped because something else had failed.
CANCELLED = "cancelled"

# Lambda allows 64 characters for a function's name, which ends in -grafana-datasource-setup.
MAX_NAME = 39
# What a creation or deletion that failed leaves behind, which can only be deleted.
DEAD = ("CREATE_FAILED", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "DELETE_FAILED")

# All that the entry template parallelcluster-infrastructure.yaml holds.
ENTRY = {("Network", STACK), ("Monitoring", STACK)}
# How many resources an error names.
SHOWN = 5

# How to delete what a stack keeps; {0} is its physical id.
REMOVAL = {
    "AWS::APS::Workspace": "aws amp delete-workspace --workspace-id {0}",
    "AWS::Grafana::Workspace": "aws grafana delete-workspace --workspace-id {0}",
    "AWS::IAM::Role": "for policy in $(aws iam list-role-policies --role-name {0} --query PolicyNames --output text); "
    "do aws iam delete-role-policy --role-name {0} --policy-name $policy; done; aws iam delete-role --role-name {0}",
}


def main():
    arguments = parse_arguments()
    try:
        arguments.run(arguments.stack)
    except ValueError as error:
        sys.exit(f"stack: {error}")
    except KeyboardInterrupt:
        sys.exit("stack: interrupted; what CloudFormation has begun goes on")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, run, text in (
        ("updatable", check_updatable, "fail if the stack cannot be updated, or would lose what another template has made"),
        ("there", describe, "fail if there is no such stack, or no way to ask for it"),
        ("failures", print_failures, "print what failed, and CloudFormation's reasons"),
        ("delete", delete, "delete the stack, and print what is kept"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("--stack", required=True, help="name or ARN of the stack")
        command.set_defaults(run=run)
    return parser.parse_args()


def describe(stack):
    return json.loads(aws("describe-stacks", "--stack-name", stack, "--output", "json"))["Stacks"][0]


def check_updatable(stack):
    """What a stack holds beyond the entry template's resources, an update would delete."""
    if len(stack) > MAX_NAME and not stack.startswith("arn:"):
        raise ValueError(f"STACK={stack}: {len(stack)} characters; a function's name has room for {MAX_NAME} of them")
    try:
        status = describe(stack)["StackStatus"]
    except ValueError as error:
        if "does not exist" in str(error):
            return
        raise
    if status in DEAD:
        names = f"STACK={stack} REGION={cli.region() or '…'}"
        raise ValueError(
            f"stack {stack} is {status} and can only be deleted: make destroy {names}. "
            f"Why it failed: make failures {names}"
        )
    listed = aws("list-stack-resources", "--stack-name", stack, "--output", "json")
    there = [
        (one["LogicalResourceId"], one["ResourceType"])
        for one in json.loads(listed)["StackResourceSummaries"]
        if one["ResourceStatus"] != "DELETE_COMPLETE"
    ]
    others = [f"{kind} {name}" for name, kind in there if (name, kind) not in ENTRY]
    if others:
        more = f" and {len(others) - SHOWN} more" if len(others) > SHOWN else ""
        raise ValueError(
            f"stack {stack} was made by another template, and an update would delete {', '.join(others[:SHOWN])}{more}. "
            "Choose another name for STACK. docs/migrate.md and docs/deploy.md say how to move"
        )


def print_failures(stack):
    found = failures(stack)
    for event in found:
        reason = event.get("ResourceStatusReason", "CloudFormation gives no reason")
        print(f"{event['LogicalResourceId']} ({event['ResourceType']}): {reason}")
    if found:
        print("docs/troubleshooting.md says what to do about it")
    else:
        print(f"nothing has failed in the last operation of {stack}")


def delete(stack):
    identity = describe(stack)["StackId"]
    print(f"deleting {identity}, which takes some minutes", flush=True)
    aws("delete-stack", "--stack-name", identity)
    try:
        aws("wait", "stack-delete-complete", "--stack-name", identity)
    except ValueError:
        print_failures(identity)
        raise
    kept = [event for event in last_operation(identity) if event["ResourceStatus"] == "DELETE_SKIPPED"]
    print(f"{stack} is deleted{', but for what may hold data that people need:' if kept else ''}")
    for event in kept:
        name = event["PhysicalResourceId"]
        print(f"  {event['ResourceType']} {name} is kept. To delete it:")
        print(f"    {REMOVAL.get(event['ResourceType'], 'use its own service').format(name)}")


def failures(stack):
    """Events of what failed by itself: a stack that failed by a resource of its own is left out."""
    failed = [event for event in last_operation(stack) if is_failure(event)]
    explained = {event["StackId"] for event in failed if not is_of_stack_itself(event)}
    return [event for event in failed if event["PhysicalResourceId"] not in explained]


def is_failure(event):
    is_cancelled = CANCELLED in event.get("ResourceStatusReason", "")
    return event["ResourceStatus"].endswith("_FAILED") and not is_cancelled


def is_of_stack_itself(event):
    return event["PhysicalResourceId"] == event["StackId"]


def last_operation(stack):
    """The events of a stack's last operation and of the stacks in it."""
    events = []
    for event in events_of(stack):
        events.append(event)
        if is_of_stack_itself(event) and event["ResourceStatus"] in BEGINNINGS:
            break
    start = time(events[-1])
    seen = {events[0]["StackId"]}
    while events:
        event = events.pop(0)
        yield event
        inner = event["PhysicalResourceId"]
        if event["ResourceType"] == STACK and inner and inner not in seen:
            seen.add(inner)
            events.extend(event for event in events_of(inner) if time(event) >= start)


def events_of(stack):
    """From the newest to the oldest, as CloudFormation lists them."""
    return json.loads(aws("describe-stack-events", "--stack-name", stack, "--output", "json"))["StackEvents"]


def time(event):
    return datetime.datetime.fromisoformat(event["Timestamp"].replace("Z", "+00:00"))


def aws(*arguments):
    return cli.aws("cloudformation", *arguments)


if __name__ == "__main__":
    main()
