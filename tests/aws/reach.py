"""Who can reach whom, computed from a template: a way out of one security group that is a way into another."""

from collections.abc import Iterator, Mapping
from typing import Any

EVERYWHERE = "0.0.0.0/0"
Edge = tuple[str, str, int]
"""From where, to where, TCP port (0: any)."""


def edges(template: Mapping[str, Any], parameters: Mapping[str, str]) -> set[Edge]:
    """Return every way that the security groups leave open under these parameters.

    Ends are names of groups, and what a rule names in their stead: an address range or a prefix list. A way between
    two groups needs both, a rule out of the one and a rule into the other.
    """
    values = {name: it.get("Default", "") for name, it in template["Parameters"].items()} | dict(parameters)
    conditions = template.get("Conditions", {})
    resources = {
        name: it
        for name, it in template["Resources"].items()
        if "Condition" not in it or holds({"Condition": it["Condition"]}, conditions, values)
    }
    out = set(_rules(resources, "Egress", values))
    into = {(other, group, port) for group, other, port in _rules(resources, "Ingress", values)}
    groups = {name for name, it in resources.items() if it["Type"] == "AWS::EC2::SecurityGroup"}
    ways = set()
    for source, target, port in out:
        if target not in groups or any((a, b) == (source, target) and (not port or q in (port, 0)) for a, b, q in into):
            ways.add((source, target, port))
    # Who may go anywhere gets wherever somebody lets in, whoever that is meant for.
    for source, target, _ in list(out):
        if target == EVERYWHERE:
            ways |= {(source, group, port) for other, group, port in into if other == EVERYWHERE}
    return ways | {(other, group, port) for other, group, port in into if other not in groups}


def holds(condition: Any, conditions: Mapping[str, Any], values: Mapping[str, str]) -> bool:
    """Return whether a condition of the template holds."""
    ((function, argument),) = condition.items()
    if function == "Condition":
        return holds(conditions[argument], conditions, values)
    if function == "Fn::Equals":
        left, right = (values[it["Ref"]] if isinstance(it, dict) else it for it in argument)
        return bool(left == right)
    parts = [holds(it, conditions, values) for it in argument]
    return {"Fn::Not": not parts[0], "Fn::And": all(parts), "Fn::Or": any(parts)}[function]


def _rules(resources: Mapping[str, Any], way: str, values: Mapping[str, str]) -> Iterator[Edge]:
    """Yield group, other end and port of each rule of one direction, also of those within a group."""
    for name, resource in resources.items():
        properties = resource.get("Properties", {})
        if resource["Type"] == "AWS::EC2::SecurityGroup":
            # Without any rule EC2 lets a group go everywhere.
            default = [{"IpProtocol": "-1", "CidrIp": EVERYWHERE}] if way == "Egress" else []
            for rule in properties.get(f"SecurityGroup{way}", default):
                yield from _edge(name, rule, values)
        elif resource["Type"] == f"AWS::EC2::SecurityGroup{way}":
            yield from _edge(properties["GroupId"]["Ref"], properties, values)


def _edge(group: str, rule: Mapping[str, Any], values: Mapping[str, str]) -> Iterator[Edge]:
    keys = ("CidrIp", "SourceSecurityGroupId", "DestinationSecurityGroupId", "DestinationPrefixListId")
    ends = [rule[key] for key in keys if key in rule]
    assert len(ends) == 1, f"{group}: {rule} names not one other end"
    end = ends[0]
    if isinstance(end, dict):
        end = values.get(end["Ref"], end["Ref"])
    if end == "127.0.0.1/32":
        return
    port = 0 if rule["IpProtocol"] == "-1" else rule["FromPort"]
    assert rule["IpProtocol"] == "-1" or rule["FromPort"] == rule["ToPort"], f"{group}: a range of ports"
    yield group, end, port
