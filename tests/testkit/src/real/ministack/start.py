"""Starts MiniStack with two gaps filled and two faults mended.

It has no rules of Amazon Managed Prometheus: they get an ARN, and nothing evaluates them. It has no alarms on an
expression: each becomes an alarm on a metric of the expression's name.

Where it updates a stack in a stack, it forgets the attributes of the resources that do not change, so that the next
`Fn::GetAtt` fails; and it does not delete a custom resource that the update has replaced."""

from ministack.app import main
from ministack.services.cloudformation import _stacks, provisioners

update = provisioners._update_resource


def update_resource(kind, physical_id, old, new, stack, logical_id=None, attributes=None):
    resources = _stacks.get(stack, {}).get("_resources", {})
    kept = attributes or resources.get(logical_id, {}).get("Attributes", {})
    next_id, changed = update(kind, physical_id, old, new, stack, logical_id, kept)
    if kind.startswith("Custom::") and next_id != physical_id:
        provisioners._delete_resource(kind, physical_id, old, stack, logical_id)
    return next_id, {**kept, **changed}


provisioners._update_resource = update_resource

alarm_record = provisioners._cw_metric_alarm_record


def any_alarm_record(name, properties):
    metrics = properties.get("Metrics")
    if metrics:
        metric = {"Namespace": "Expressions", "MetricName": metrics[0]["Label"], "Period": metrics[0]["Period"]}
        properties = {**properties, "Metrics": None, **metric}
    return alarm_record(name, properties)


provisioners._cw_metric_alarm_record = any_alarm_record


def create_rules(logical_id, properties, stack):
    workspace, name = properties["Workspace"], properties["Name"]
    arn = workspace.replace(":workspace/", ":rulegroupsnamespace/") + "/" + name
    return arn, {"Arn": arn}


provisioners._RESOURCE_HANDLERS["AWS::APS::RuleGroupsNamespace"] = {
    "create": create_rules,
    "update": lambda arn, old, new, stack: (arn, {}),
    "delete": lambda arn, properties: None,
}
main()
