"""Starts MiniStack with one fault mended: an update of a stack in a stack forgets the attributes of
what it leaves alone, so that the next `Fn::GetAtt` fails."""

from ministack.app import main
from ministack.services.cloudformation import _stacks, provisioners

update = provisioners._update_resource


def update_resource(kind, physical_id, old, new, stack, logical_id=None, attributes=None):
    """The attributes that CloudFormation keeps are those the last operation left, and the new ones."""
    resources = _stacks.get(stack, {}).get("_resources", {})
    kept = attributes or resources.get(logical_id, {}).get("Attributes", {})
    physical_id, changed = update(kind, physical_id, old, new, stack, logical_id, kept)
    return physical_id, {**kept, **changed}


provisioners._update_resource = update_resource
main()
