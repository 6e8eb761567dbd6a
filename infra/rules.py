#!/usr/bin/env python3
"""Renders the Prometheus rules of rules/ and checks them.

    rules.py render health                         with ${…} for CloudFormation's Fn::Sub
    rules.py render health --set ClusterName=p5en  for a Prometheus of one's own
    rules.py alertmanager --set AlarmTopicArn=… --set GpuEventsTopicArn=…   what to put into a workspace of one's own
    rules.py check                                 promtool's check and tests, and Amazon Managed Prometheus' limits

In the sources, {GPUS}, {TARGETS} and {OURS} are label matchers, NODE(…), GPU(…) and XID_…(…) stand for
PromQL that would be the same everywhere, and the classes of XIDs come from rules/xid.csv.
"""

import argparse
import csv
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

SOURCES = pathlib.Path(__file__).resolve().parent / "rules"
# Each is a namespace of Amazon Managed Prometheus' ruler, and a Prometheus rule file.
FILES = {
    "health": ("presence.yaml", "xid.yaml", "hardware.yaml"),
    "efficiency": ("idle.yaml", "straggler.yaml"),
}

# What a stack passes, and its defaults. ClusterName has none.
DEFAULTS = {
    "GpuUsdPerHour": "7.912",
    "IdleMinutes": "30",
    "IdleUsdPerHourLimit": "50",
    "ThrottledRatio": "0.1",
    "StragglingRatio": "0.1",
    "RunbookUrl": "docs/health.md",
    "DashboardUrl": "-",
}
SETTINGS = ("ClusterName", *DEFAULTS)

# What the Alert Manager definition refers to.
TOPICS = ("AlarmTopicArn", "GpuEventsTopicArn")

# https://docs.aws.amazon.com/prometheus/latest/userguide/AMP_quotas.html
MAX_RULES_IN_GROUP = 20
MAX_BYTES = 40_000

MATCHERS = {
    "GPUS": "gpu!='',cluster=~'${ClusterName}|'",
    "TARGETS": "cluster=~'${ClusterName}|'",
    "OURS": "cluster='${ClusterName}'",
}
# The first label that names the node, as INSTANCE_ID_LABELS of dcgm-to-cloudwatch has them, without its port.
NODE = (
    "label_replace(label_join({}, 'instance_id',';','instance_id','InstanceId','Hostname','hostname','instance'),"
    "'instance_id','$1','instance_id','(?:(?:localhost)?;)*([^;:]+).*')"
)
GPU = "max by (instance_id, gpu, UUID) (NODE({}))"

COLUMNS = ("codes", "action", "severity", "stands", "again", "shared", "words")
SEVERITIES = ("critical", "warning", "info")
OTHERS = "*"


def main():
    arguments = parse_arguments()
    try:
        arguments.run(arguments)
    except (OSError, ValueError) as error:
        sys.exit(f"rules: {error}")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("render", help="print one of the two rule files")
    command.add_argument("file", choices=FILES, help="health, or efficiency (which reads what health records)")
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="put a value in; the others get their defaults. Without any, ${NAME} stays. "
        f"Names: {', '.join(SETTINGS)}",
    )
    command.add_argument("--output", type=pathlib.Path, metavar="FILE", help="write there instead of printing")
    command.set_defaults(run=print_rules)
    definition = commands.add_parser("alertmanager", help="print the Alert Manager definition")
    definition.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help=f"put a value in. Without any, ${{NAME}} stays. Names: {', '.join(TOPICS)}",
    )
    definition.set_defaults(run=print_definition)
    check = commands.add_parser("check", help="promtool's check and tests, and Amazon Managed Prometheus' limits")
    check.add_argument("--promtool", default=default_promtool(), help="the program, %(default)s")
    check.set_defaults(run=run_checks)
    for each in (command, check):
        each.add_argument(
            "--xid-overrides",
            type=pathlib.Path,
            metavar="FILE",
            help="rows of the form of rules/xid.csv, which replace the codes they name",
        )
    return parser.parse_args()


def default_promtool():
    own = SOURCES.parent.parent / ".venv/bin/promtool"
    return str(own) if own.exists() else "promtool"


# ---- Commands


def print_rules(arguments):
    text = render(arguments.file, read_settings(arguments.set), arguments.xid_overrides)
    if arguments.output:
        arguments.output.write_text(text)
    else:
        sys.stdout.write(text)


def read_settings(pairs):
    """The values for all settings; none where no pair is given."""
    if not pairs:
        return None
    settings = dict(DEFAULTS)
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or name not in SETTINGS:
            raise ValueError(f'--set "{pair}": expected NAME=VALUE with a name of {", ".join(SETTINGS)}')
        if name not in ("ClusterName", "RunbookUrl", "DashboardUrl") and not re.fullmatch(r"\d+(\.\d+)?", value):
            raise ValueError(f'{name}="{value}": expected a number')
        settings[name] = value
    if "ClusterName" not in settings:
        raise ValueError("--set ClusterName=… is missing: rules are made for one cluster")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]{0,59}", settings["ClusterName"]):
        raise ValueError(f'ClusterName="{settings["ClusterName"]}": expected up to 60 letters, digits and dashes')
    return settings


def print_definition(arguments):
    text = definition()
    if arguments.set:
        topics = dict(pair.partition("=")[::2] for pair in arguments.set)
        if set(topics) != set(TOPICS):
            raise ValueError(f"--set {' '.join(arguments.set)}: expected a value for each of {', '.join(TOPICS)}")
        for name, arn in topics.items():
            if not re.fullmatch(r"arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:[A-Za-z0-9_-]{1,256}", arn):
                raise ValueError(f'{name}="{arn}": expected an ARN such as arn:aws:sns:us-east-2:123456789012:operations')
            text = text.replace("${" + name + "}", arn)
        text = text.replace("${AWS::Region}", topics["AlarmTopicArn"].split(":")[3])
    sys.stdout.write(text)


def run_checks(arguments):
    with tempfile.TemporaryDirectory() as folder:
        check_runbook()
        check_definition(definition())
        for file in FILES:
            check_limits(file, render(file, None, arguments.xid_overrides))
            rules = pathlib.Path(folder) / f"{file}.yaml"
            rules.write_text(render(file, {**DEFAULTS, "ClusterName": "c"}, arguments.xid_overrides))
            promtool(arguments.promtool, "check", "rules", rules)
        tests = [shutil.copy(test, folder) for test in sorted(SOURCES.glob("*_test.yaml"), reverse=True)]
        # Beside each other; the last by name takes longest.
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(lambda test: promtool(arguments.promtool, "test", "rules", test), tests))
    print("the rules are valid, and their tests pass")


def promtool(program, *arguments):
    try:
        run = subprocess.run(
            [program, *arguments],
            check=False,
            env={**os.environ, "TZ": "UTC"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    except FileNotFoundError:
        raise ValueError(f"{program} is missing: `make tools` puts it into .venv/bin") from None
    print(run.stdout, end="", flush=True)
    if run.returncode != 0:
        raise ValueError(f"promtool {arguments[0]} rules failed, see above")


def check_limits(file, text):
    size = len(text.encode())
    if size > MAX_BYTES:
        raise ValueError(f"the rules of {file} have {size} bytes: a template takes {MAX_BYTES} of them")
    for group in re.split(r"^- name: ", text, flags=re.MULTILINE)[1:]:
        if "\n  interval: 1m\n" not in group:
            raise ValueError(f"group {group.split()[0]}: expected an interval of 1m, which its conditions count on")
        count = len(re.findall(r"^ *- (?:record|alert):", group, flags=re.MULTILINE))
        if count > MAX_RULES_IN_GROUP:
            raise ValueError(f"group {group.split()[0]} has {count} rules: at most {MAX_RULES_IN_GROUP}")
    for selector in re.findall(r"\{[^{}$]*(?:\$\{ClusterName\}[^{}$]*)*\}", text):
        if re.search(r'[a-zA-Z_]!?[=~]', selector) and "cluster=" not in selector:
            raise ValueError(f"the selector {selector} is not bound to the cluster")


def check_definition(text):
    """Alert Manager there takes SNS receivers with a region and without an address of their own.
    https://docs.aws.amazon.com/prometheus/latest/userguide/AMP-alertmanager-config.html"""
    receivers = text.count("- topic_arn: ")
    for words, count in (("region: ${AWS::Region}", receivers), ("send_resolved: true", receivers), ("api_url", 0)):
        if text.count(words) != count:
            raise ValueError(f"alertmanager.yaml: expected {words!r} {count} times")
    if set(re.findall(r"\$\{([^}]*)\}", text)) != {*TOPICS, "AWS::Region"}:
        raise ValueError(f"alertmanager.yaml: expected references to {', '.join(TOPICS)} and AWS::Region")


def check_runbook():
    """Every alert leads to a heading of docs/health.md."""
    headings = re.findall(r"^## (.+)$", (SOURCES.parent.parent / "docs/health.md").read_text(), flags=re.MULTILINE)
    anchors = {heading.lower().replace(" ", "-") for heading in headings}
    for path in sorted(SOURCES.glob("[!a]*.yaml")):
        text = path.read_text()
        wanted = re.findall(r"\$\{RunbookUrl\}#([a-z-]+)", text)
        if "reReplaceAll" in text:
            wanted += [reason.lower().replace(" ", "-") for reason in re.findall(r"labels: \{reason: ([^,]+),", text)]
        for anchor in wanted:
            if anchor not in anchors:
                raise ValueError(f"{path.name}: docs/health.md has no heading {anchor}")


# ---- Rendering


def render(file, settings, xid_overrides=None):
    """One of FILES. Settings are put in; None leaves ${…} for CloudFormation."""
    xids = read_xids(xid_overrides)
    text = "groups:\n" + "".join(groups_of(SOURCES / name) for name in FILES[file])
    text = expand_all(text, xids)
    for name, value in (settings or {}).items():
        text = text.replace("${" + name + "}", value)
    left = set(re.findall(r"\$\{([^}]*)\}", text)) - (set(SETTINGS) if settings is None else set())
    if left:
        raise ValueError(f"no such setting: {', '.join(sorted(left))}")
    return text


def definition():
    """The Alert Manager definition, with ${…} for CloudFormation."""
    text = (SOURCES / "alertmanager.yaml").read_text()
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith("#"))


def groups_of(path):
    """The groups of a file, without its comments."""
    lines = path.read_text().splitlines(keepends=True)
    lines = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    return "".join(map(dedent, lines)).removeprefix("groups:\n")


def dedent(line):
    """Takes off the indentation that YAML does not need: a template has little room."""
    indent = len(line) - len(line.lstrip(" "))
    return line[min(indent, 4) if indent >= 6 else min(indent, 2) :]


def expand_all(text, xids):
    for name, form in (
        ("XID_CLASS", labels_of_class(xids)),
        ("XID_AGAIN", labels_of_again(xids)),
        ("GPU", GPU),
        ("NODE", NODE),
    ):
        text = expand(text, name, lambda body, form=form: form.replace("{}", body, 1))
    text = expand(text, "XIDS", lambda body: matcher(xids, body))
    text = text.replace("XID_WORDS", xid_words(xids))
    text = expand(text, "ACTION_WORDS", lambda body: action_words(xids, body))
    return re.sub(r"\b(GPUS|TARGETS|OURS)\}", lambda match: MATCHERS[match[1]] + "}", text)


def expand(text, name, form):
    """Replaces name(body), whatever brackets the body has."""
    pattern = re.compile(rf"\b{name}\(")
    while match := pattern.search(text):
        depth, end = 1, match.end()
        while depth:
            depth += {"(": 1, ")": -1}.get(text[end], 0)
            end += 1
        body = text[match.end() : end - 1].strip()
        text = text[: match.start()] + form(body) + text[end:]
    return text


# ---- XIDs


def read_xids(overrides=None):
    """Code → row. The row of all other codes is that of OTHERS."""
    xids = read_table(SOURCES / "xid.csv")
    if OTHERS not in xids:
        raise ValueError(f"xid.csv: a row for {OTHERS} is missing")
    if overrides:
        xids.update(read_table(overrides))
    return xids


def read_table(path):
    xids = {}
    actions = set(read_actions()) | {"restart_app", "ignore"}
    lines = (line for line in path.read_text().splitlines() if line.strip() and not line.startswith("#"))
    rows = csv.DictReader(lines)
    if tuple(rows.fieldnames or ()) != COLUMNS:
        raise ValueError(f"{path.name}: expected the columns {','.join(COLUMNS)}")
    for row in rows:
        if None in row or None in row.values():
            raise ValueError(f"{path.name}: {row['codes']}: expected {len(COLUMNS)} columns")
        for column, allowed in (
            ("action", actions),
            ("again", {"", *actions}),
            ("severity", SEVERITIES),
            ("stands", ("yes", "no")),
            ("shared", ("", "software")),
        ):
            if row[column] not in allowed:
                expected = ", ".join(filter(None, sorted(allowed)))
                raise ValueError(f'{path.name}: {row["codes"]}: {column}="{row[column]}": expected one of {expected}')
        for code in codes_of(row["codes"], path):
            if code in xids:
                raise ValueError(f"{path.name}: XID {code} has two rows")
            xids[code] = row
    return xids


def codes_of(text, path):
    for part in text.split():
        if part == OTHERS:
            yield OTHERS
        elif match := re.fullmatch(r"(\d{1,3})(?:-(\d{1,3}))?", part):
            yield from range(int(match[1]), int(match[2] or match[1]) + 1)
        else:
            raise ValueError(f'{path.name}: "{part}": expected a code such as 79, a range such as 144-150, or *')


def matcher(xids, conditions):
    """A matcher of the codes whose rows meet `column=value` each; `again=*` is any value."""
    wanted = [condition.split("=") for condition in conditions.split(",")]

    def meets(row):
        return all(row[column] if values == "*" else row[column] in values.split("|") for column, values in wanted)

    others = meets(xids[OTHERS])
    listed = [code for code, row in xids.items() if code != OTHERS and bool(meets(row)) != bool(others)]
    return f'xid{"!~" if others else "=~"}"{alternatives(listed)}"'


def alternatives(codes):
    """A regular expression of these codes, which share what comes before their last digit: 79|14[456789]|150."""
    digits = {}
    for code in sorted(codes):
        digits.setdefault(str(code)[:-1], []).append(str(code)[-1])
    return "|".join(f"{rest}{ends[0]}" if len(ends) == 1 else f"{rest}[{''.join(ends)}]" for rest, ends in digits.items())


def labels_of_class(xids):
    text = add_labels("{}", xids, "action", lambda row: row["action"], skipped={"ignore", "restart_app"})
    return add_labels(text, xids, "severity", lambda row: row["severity"], skipped={"info"})


def labels_of_again(xids):
    """The action for a code that came again. It is critical unless a first time is a program's fault."""
    text = add_labels("{}", xids, "action", lambda row: row["again"], skipped={""})
    severity = {"info": "warning", "warning": "critical", "critical": "critical"}
    return add_labels(text, xids, "severity", lambda row: severity[row["severity"]], skipped=())


def add_labels(text, xids, label, value_of, skipped):
    """label_replace() around an expression, for each value but those that its selection leaves out."""
    others = value_of(xids[OTHERS])
    text = f'label_replace({text}, "{label}", "{others}", "xid", ".+")'
    for value in dict.fromkeys(value_of(row) for row in xids.values()):
        if value != others and value not in skipped:
            codes = alternatives(code for code, row in xids.items() if code != OTHERS and value_of(row) == value)
            text = f'label_replace({text}, "{label}", "{value}", "xid", "{codes}")'
    return text


def xid_words(xids):
    """A template for the words of $labels.reason, "XID 79". Codes of programs have alerts of their own."""
    by_words = {}
    for code, row in xids.items():
        if code != OTHERS and row["action"] not in ("ignore", "restart_app"):
            by_words.setdefault(row["words"], []).append(f'"XID {code}"')
    return chain("reason", [(codes, words) for words, codes in by_words.items()], xids[OTHERS]["words"])


def action_words(xids, names):
    """A template for the words of $labels.action: of these actions, or of those in a column of the XIDs."""
    if names in COLUMNS:
        wanted = {row[names] for row in xids.values()}
    else:
        wanted = set(names.split(","))
    cases = [([f'"{action}"'], words) for action, words in read_actions().items() if action in wanted]
    return chain("action", cases, "See the runbook.")


def chain(label, cases, otherwise):
    text = ""
    for values, words in cases:
        text += f"{{{{ {'else ' if text else ''}if eq $labels.{label} {' '.join(values)} }}}}{words}"
    return (text + f"{{{{ else }}}}{otherwise}{{{{ end }}}}").replace("'", "''")


def read_actions():
    lines = (line for line in (SOURCES / "actions.csv").read_text().splitlines() if not line.startswith("#"))
    return {row["action"]: row["words"] for row in csv.DictReader(lines)}


if __name__ == "__main__":
    main()
