#!/usr/bin/env python3
"""Adds the GPU widgets of a deployed stack to another CloudWatch dashboard.

    dashboard.py --stack pcluster-infra --name ParallelCluster-p5en

Run again after an update: widgets that are there already are brought up to date where they
stand, new ones go below the rest, and everything else is left as it is.
"""

import argparse
import copy
import json
import sys
from urllib.parse import unquote

import cli


def main():
    arguments = parse_arguments()
    try:
        source = read_dashboard(dashboard_of_stack(arguments.stack))
        target = read_dashboard(arguments.name)
        merged = merge(target, gpu_widgets(source))
        if merged == target:
            print(f"{arguments.name}: already up to date")
            return
        write_dashboard(arguments.name, merged)
    except ValueError as error:
        sys.exit(f"dashboard: {error}")
    print(f"{arguments.name}: {len(merged['widgets'])} widgets, {len(target['widgets'])} before")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stack", required=True, help="the stack that monitors the cluster")
    parser.add_argument("--name", required=True, help="the dashboard to add the widgets to")
    return parser.parse_args()


def gpu_widgets(dashboard):
    return [widget for widget in dashboard["widgets"] if title(widget).startswith("GPU")]


def merge(target, widgets):
    """The target with the widgets in it; a widget is the same if title and namespace are."""
    merged = copy.deepcopy(target)
    places = {identity(widget): place for place, widget in enumerate(target["widgets"])}
    top = bottom(target["widgets"])
    for widget in widgets:
        place = places.get(identity(widget))
        if place is None:
            merged["widgets"].append(widget | {"y": top + widget["y"]})
        else:
            merged["widgets"][place]["properties"] = widget["properties"]
    return merged


def identity(widget):
    return title(widget), namespace(widget)


def title(widget):
    return widget.get("properties", {}).get("title", "")


def namespace(widget):
    """The first metric's namespace, also where a search expression names it."""
    metrics = widget.get("properties", {}).get("metrics") or [[""]]
    first = metrics[0][0] if metrics[0] else ""
    if isinstance(first, dict):
        first = first.get("expression", "").partition('{"')[2].partition('"')[0]
    return first


def bottom(widgets):
    return max((widget.get("y", 0) + widget.get("height", 6) for widget in widgets), default=0)


def dashboard_of_stack(stack):
    query = "Stacks[0].Outputs[?OutputKey=='GpuDashboardUrl'].OutputValue"
    urls = json.loads(aws("cloudformation", "describe-stacks", "--stack-name", stack, "--query", query))
    if not urls:
        raise ValueError(f"stack {stack} has no output GpuDashboardUrl: name the stack that monitors the cluster")
    return unquote(urls[0].rpartition("/")[2])


def read_dashboard(name):
    body = json.loads(aws("cloudwatch", "get-dashboard", "--dashboard-name", name, "--query", "DashboardBody"))
    dashboard = json.loads(body)
    dashboard.setdefault("widgets", [])
    return dashboard


def write_dashboard(name, dashboard):
    body = json.dumps(dashboard, ensure_ascii=False)
    answer = json.loads(aws("cloudwatch", "put-dashboard", "--dashboard-name", name, "--dashboard-body", body))
    # PutDashboard accepts a body it finds fault with and says so only here.
    if answer.get("DashboardValidationMessages"):
        raise ValueError(f"CloudWatch finds fault with {name}: {answer['DashboardValidationMessages']}")


def aws(*arguments):
    return cli.aws(*arguments, "--output", "json")


if __name__ == "__main__":
    main()
