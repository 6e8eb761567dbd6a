"""Turns an Alert Manager definition of Amazon Managed Prometheus into files for an Alertmanager.

    native.py FOLDER SNS_URL SPEED <DEFINITION

Its templates become files, SNS is at SNS_URL, and every wait is SPEED times as short.
"""

import pathlib
import re
import sys

import yaml

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def main(folder: pathlib.Path, sns_url: str, speed: int) -> None:
    definition = yaml.safe_load(sys.stdin)
    config = yaml.safe_load(definition["alertmanager_config"])
    for name, template in definition["template_files"].items():
        (folder / name).write_text(template)
    config["templates"] = [str(folder / name) for name in config["templates"]]
    hurry(config["route"], speed)
    for receiver in config["receivers"]:
        for sns in receiver.get("sns_configs", []):
            sns["api_url"] = sns_url
    (folder / "alertmanager.yml").write_text(yaml.safe_dump(config))


def hurry(route: dict, speed: int) -> None:
    for name in ("group_wait", "group_interval", "repeat_interval"):
        if name in route:
            number, unit = re.fullmatch(r"([0-9]+)([smhd])", route[name]).groups()
            route[name] = f"{max(1, int(number) * SECONDS[unit] * 1000 // speed)}ms"
    for child in route.get("routes", []):
        hurry(child, speed)


main(pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
