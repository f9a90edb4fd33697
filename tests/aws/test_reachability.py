"""Who can reach whom, on the template itself: moto ignores security groups."""

import copy
from typing import Any

import pytest
from deploy import HERE
from stacks import read_template

from tests.aws.reach import EVERYWHERE, Edge, edges

PEOPLE = "203.0.113.0/24"
GIVEN = {"Environment": "test", "S3PrefixList": "pl-s3", "PeopleCidr": PEOPLE}
ALWAYS: set[Edge] = {
    (EVERYWHERE, "BalancerGroup", 443),
    (PEOPLE, "BalancerGroup", 443),
    ("BalancerGroup", "ApiGroup", 8001),
    ("BalancerGroup", "ModeratorGroup", 8501),
    ("BalancerGroup", "MonitorGroup", 8502),
    ("ModeratorGroup", "InnerBalancerGroup", 80),
    ("InnerBalancerGroup", "ApiGroup", 8001),
    ("ApiGroup", "DatabaseGroup", 5432),
    ("MonitorGroup", "DatabaseGroup", 5432),
    ("TaskGroup", "DatabaseGroup", 5432),
    ("ApiGroup", "FilesGroup", 2049),
    ("TaskGroup", "FilesGroup", 2049),
    *((group, "EndpointGroup", 443) for group in ("ApiGroup", "ModeratorGroup", "MonitorGroup", "TaskGroup")),
    *((group, "pl-s3", 443) for group in ("ApiGroup", "ModeratorGroup", "MonitorGroup", "TaskGroup")),
}
NETWORK = read_template(HERE / "network.yaml")


def beyond(source: str) -> set[Edge]:
    """Return the ways of one that may go anywhere on 443: our own front door is one of them."""
    return {(source, EVERYWHERE, 443), (source, "BalancerGroup", 443)}


def test_nobody_reaches_more_than_is_listed() -> None:
    assert edges(NETWORK, GIVEN) == ALWAYS


def test_an_identity_provider_opens_the_internet_to_the_monitor_alone() -> None:
    assert edges(NETWORK, {**GIVEN, "IdentityProvider": "yes"}) == ALWAYS | beyond("MonitorGroup")


def test_wandb_opens_the_internet_to_api_and_tasks() -> None:
    assert edges(NETWORK, {**GIVEN, "Registry": "wandb"}) == ALWAYS | beyond("ApiGroup") | beyond("TaskGroup")


def test_the_balancer_of_the_moderator_app_leads_to_the_api_only() -> None:
    resources = NETWORK["Resources"]
    listeners = {
        name: it["Properties"]
        for name, it in resources.items()
        if it["Type"].endswith(("::Listener", "::ListenerRule"))
    }
    inner = [name for name, it in listeners.items() if it.get("LoadBalancerArn") == {"Ref": "InnerBalancer"}]
    assert inner == ["InnerListener"]
    assert listeners["InnerListener"]["DefaultActions"] == [
        {"Type": "forward", "TargetGroupArn": {"Ref": "ApiInnerTargets"}}
    ]
    assert not [it for it in listeners.values() if it.get("ListenerArn") == {"Ref": "InnerListener"}]


def test_the_apps_answer_only_who_may_open_them() -> None:
    for rule in ("ModeratorRule", "MonitorRule"):
        conditions = NETWORK["Resources"][rule]["Properties"]["Conditions"]
        assert {"Field": "source-ip", "SourceIpConfig": {"Values": [{"Ref": "PeopleCidr"}]}} in conditions
    default = NETWORK["Resources"]["Listener"]["Properties"]["DefaultActions"][0]
    assert default["Type"] == "fixed-response"


def test_without_identity_provider_and_wandb_no_private_route_leaves_the_vpc() -> None:
    routes = {name: it for name, it in NETWORK["Resources"].items() if it["Type"] == "AWS::EC2::Route"}
    assert {name: it.get("Condition") for name, it in routes.items()} == {
        "ToInternet": None,
        "OutA": "UsesInternet",
        "OutB": "UsesInternet",
    }
    assert routes["ToInternet"]["Properties"]["RouteTableId"] == {"Ref": "PublicRoutes"}
    associations = {
        it["Properties"]["SubnetId"]["Ref"]: it["Properties"]["RouteTableId"]["Ref"]
        for it in NETWORK["Resources"].values()
        if it["Type"] == "AWS::EC2::SubnetRouteTableAssociation"
    }
    assert associations == {
        "PublicA": "PublicRoutes",
        "PublicB": "PublicRoutes",
        "PrivateA": "PrivateRoutesA",
        "PrivateB": "PrivateRoutesB",
        "DatabaseA": "DatabaseRoutes",
        "DatabaseB": "DatabaseRoutes",
    }


def test_each_thing_stands_in_its_own_group() -> None:
    data, tasks = (read_template(HERE / f"{name}.yaml")["Resources"] for name in ("data", "tasks"))
    assert data["Database"]["Properties"]["VPCSecurityGroups"] == [{"Ref": "DatabaseGroup"}]
    for name in ("FilesA", "FilesB"):
        assert data[name]["Properties"]["SecurityGroups"] == [{"Ref": "FilesGroup"}]
    for name in ("Work", "Maintain", "Retention"):
        network = tasks[name]["Properties"]["Target"]["EcsParameters"]["NetworkConfiguration"]["AwsvpcConfiguration"]
        assert network["SecurityGroups"] == [{"Ref": "TaskGroup"}]
        assert network["AssignPublicIp"] == "DISABLED"


def _to(source: str, target: str) -> dict[str, Any]:
    ends = {"GroupId": {"Ref": source}, "DestinationSecurityGroupId": {"Ref": target}}
    ports = {"IpProtocol": "tcp", "FromPort": 5432, "ToPort": 5432}
    return {"Type": "AWS::EC2::SecurityGroupEgress", "Properties": {**ends, **ports}}


def _from(target: str, source: str) -> dict[str, Any]:
    ends = {"GroupId": {"Ref": target}, "SourceSecurityGroupId": {"Ref": source}}
    ports = {"IpProtocol": "tcp", "FromPort": 5432, "ToPort": 5432}
    return {"Type": "AWS::EC2::SecurityGroupIngress", "Properties": {**ends, **ports}}


@pytest.mark.parametrize(
    ("added", "seen"),
    [
        ({"A": _to("ModeratorGroup", "DatabaseGroup")}, False),
        ({"B": _from("DatabaseGroup", "ModeratorGroup")}, False),
        ({"A": _to("ModeratorGroup", "DatabaseGroup"), "B": _from("DatabaseGroup", "ModeratorGroup")}, True),
    ],
)
def test_a_way_needs_a_rule_at_both_ends(added: dict[str, Any], seen: bool) -> None:
    changed = copy.deepcopy(NETWORK)
    changed["Resources"] |= added
    assert (("ModeratorGroup", "DatabaseGroup", 5432) in edges(changed, GIVEN)) is seen


def test_a_group_that_forgets_its_rules_is_seen_to_go_anywhere() -> None:
    changed = copy.deepcopy(NETWORK)
    del changed["Resources"]["ModeratorGroup"]["Properties"]["SecurityGroupEgress"]
    assert ("ModeratorGroup", EVERYWHERE, 0) in edges(changed, GIVEN)
