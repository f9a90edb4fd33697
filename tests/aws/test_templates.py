"""The templates: cfn-lint, limits of CloudFormation, and what must never be otherwise."""

import functools
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import costs
import pytest
import yaml
from environment import HERE, LAYERS, SETTINGS, read_environment
from stacks import DeploymentError, read_template

TEMPLATES = ("images", *LAYERS, "service")
# No resource can be named: one asks for a token, or reports as the instance that one is.
ANY_RESOURCE = {
    "ecr:GetAuthorizationToken",
    "ssm:UpdateInstanceInformation",
    "ssmmessages:CreateControlChannel",
    "ssmmessages:CreateDataChannel",
    "ssmmessages:OpenControlChannel",
    "ssmmessages:OpenDataChannel",
}


@functools.cache
def resources(kind: str) -> dict[str, dict[str, Any]]:
    found = {}
    for template in TEMPLATES:
        for name, resource in read_template(HERE / f"{template}.yaml")["Resources"].items():
            if resource["Type"] == kind:
                found[f"{template}.{name}"] = resource
    return found


def policy_actions(role: dict[str, Any]) -> list[str]:
    found: list[str] = []
    for policy in role["Properties"]["Policies"]:
        for it in policy["PolicyDocument"]["Statement"]:
            actions = (it["Fn::If"][1] if "Fn::If" in it else it)["Action"]
            found += [actions] if isinstance(actions, str) else actions
    return found


def statements() -> list[dict[str, Any]]:
    found = []
    for role in resources("AWS::IAM::Role").values():
        for policy in role["Properties"]["Policies"]:
            found += [it["Fn::If"][1] if "Fn::If" in it else it for it in policy["PolicyDocument"]["Statement"]]
    return found


def test_cfn_lint_finds_nothing() -> None:
    command = [str(Path(sys.executable).with_name("cfn-lint")), *(str(HERE / f"{name}.yaml") for name in TEMPLATES)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout, done.returncode) == ("", 0)


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_template_fits_into_a_request(template: str) -> None:
    assert (HERE / f"{template}.yaml").stat().st_size <= 51_200


def test_a_role_may_do_to_every_resource_only_what_has_none() -> None:
    found = statements()
    assert len(found) > 15
    for statement in found:
        actions = [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
        assert not [action for action in actions if "*" in action]
        if statement["Resource"] == "*":
            assert set(actions) <= ANY_RESOURCE


def test_what_is_stored_is_encrypted_and_no_database_is_public() -> None:
    (database,) = resources("AWS::RDS::DBInstance").values()
    properties = database["Properties"]
    assert properties["StorageEncrypted"] is True
    assert properties["PubliclyAccessible"] is False
    assert (database["DeletionPolicy"], database["UpdateReplacePolicy"]) == ("Snapshot", "Snapshot")
    (files,) = resources("AWS::EFS::FileSystem").values()
    assert files["Properties"]["Encrypted"] is True
    (template,) = resources("AWS::EC2::LaunchTemplate").values()
    for mappings in template["Properties"]["LaunchTemplateData"]["BlockDeviceMappings"]["Fn::If"][1:]:
        assert all(it["Ebs"]["Encrypted"] is True for it in mappings)


def test_servers_cannot_write_the_registry_and_nobody_comes_without_a_role() -> None:
    (files,) = resources("AWS::EFS::FileSystem").values()
    # With no policy at all EFS lets every client write; one that only denies leaves the rest to the roles.
    (statement,) = files["Properties"]["FileSystemPolicy"]["Statement"]
    assert (statement["Effect"], statement["Principal"], statement["Action"]) == ("Deny", {"AWS": "*"}, "*")
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    may = {
        name: {it for it in map(str, policy_actions(role)) if it.startswith("elasticfilesystem:")}
        for name, role in resources("AWS::IAM::Role").items()
    }
    assert {name: actions for name, actions in may.items() if actions} == {
        "service.Role": {"elasticfilesystem:ClientMount"},
        "tasks.ToolsRun": {"elasticfilesystem:ClientMount", "elasticfilesystem:ClientWrite"},
    }
    script = str(resources("AWS::EC2::LaunchTemplate")["service.Template"])
    assert "_netdev,tls,iam,ro,accesspoint=" in script
    definition = resources("AWS::ECS::TaskDefinition")["tasks.ToolsTask"]["Properties"]["Volumes"][0]
    mount = definition["EFSVolumeConfiguration"]
    assert (mount["TransitEncryption"], mount["AuthorizationConfig"]["IAM"]) == ("ENABLED", "ENABLED")


def test_the_database_keeps_its_minor_version_new() -> None:
    (database,) = resources("AWS::RDS::DBInstance").values()
    properties = database["Properties"]
    # A minor version that stands here would be older than the one that AWS went to by itself.
    assert (properties["EngineVersion"], properties["AutoMinorVersionUpgrade"]) == ("17", True)
    alarm = resources("AWS::CloudWatch::Alarm")["data.DatabaseConnectionsAlarm"]["Properties"]
    assert alarm["Threshold"] == {"Ref": "DatabaseConnections"}


def test_what_can_wait_has_an_alarm_of_its_own() -> None:
    figures = resources("AWS::Logs::MetricFilter")
    alarms = resources("AWS::CloudWatch::Alarm")
    for kind in ("page", "ticket"):
        figure = figures[f"service.{kind.title()}Figure"]["Properties"]
        (transformation,) = figure["MetricTransformations"]
        alarm = alarms[f"service.{kind.title()}Alarm"]["Properties"]
        assert figure["FilterPattern"].startswith(f'[name="{kind}s", value')
        assert transformation["MetricName"] == alarm["MetricName"] == f"{kind}s"


def test_statements_and_so_comments_stay_out_of_the_database_log() -> None:
    (group,) = resources("AWS::RDS::DBParameterGroup").values()
    assert group["Properties"]["Parameters"] == {
        "rds.force_ssl": "1",
        "log_min_error_statement": "panic",
        "log_statement": "none",
    }


def test_instances_answer_only_the_second_metadata_service_and_no_container() -> None:
    (template,) = resources("AWS::EC2::LaunchTemplate").values()
    options = template["Properties"]["LaunchTemplateData"]["MetadataOptions"]
    assert (options["HttpTokens"], options["HttpPutResponseHopLimit"]) == ("required", 1)


def test_no_instance_has_a_key_for_ssh_and_no_group_lets_it_in() -> None:
    (template,) = resources("AWS::EC2::LaunchTemplate").values()
    assert "KeyName" not in template["Properties"]["LaunchTemplateData"]
    ports = {it["Properties"]["FromPort"] for it in resources("AWS::EC2::SecurityGroupIngress").values()}
    assert ports == {80, 443, 2049, 5432, 8001, 8501, 8502}


def test_no_secret_stands_in_a_template() -> None:
    for name, secret in resources("AWS::SecretsManager::Secret").items():
        properties = secret["Properties"]
        if properties.get("SecretString") == {"Ref": "DatabaseCa"}:
            continue  # anybody may read a certificate
        if "SecretString" in properties:
            assert "{{resolve:secretsmanager:" in json.dumps(properties["SecretString"]), name
        else:
            assert properties["GenerateSecretString"]["PasswordLength"] >= 40, name


def test_whoever_connects_to_the_database_checks_who_answers() -> None:
    secrets = resources("AWS::SecretsManager::Secret")
    urls = [str(it["Properties"]["SecretString"]) for name, it in secrets.items() if name.endswith("Url")]
    assert len(urls) == 4
    # Not in the URL: it would outlast the certificate's file when a service or the tasks go back to an older release.
    assert all(":5432/moderation'" in url for url in urls)
    (parameters,) = resources("AWS::RDS::DBParameterGroup").values()
    assert parameters["Properties"]["Parameters"]["rds.force_ssl"] == "1"
    outputs = read_template(HERE / "data.yaml")["Outputs"]
    for service in ("Api", "Monitor"):
        assert " PGSSLMODE=verify-full PGSSLROOTCERT=/run/secrets/DATABASE_CA " in str(outputs[f"{service}Settings"])
        assert " DATABASE_CA=${DatabaseCaSecret}" in str(outputs[f"{service}Secrets"])
        assert ",${DatabaseCaSecret}" in str(outputs[f"{service}SecretArns"])
    for definition in resources("AWS::ECS::TaskDefinition").values():
        (container,) = definition["Properties"]["ContainerDefinitions"]
        given = {it["Name"]: it["Value"] for it in container["Environment"] if "Name" in it}
        assert (given["PGSSLMODE"], given["PGSSLROOTCERT"]) == ("verify-full", "/tmp/secrets/DATABASE_CA")
        assert "DATABASE_CA" in given["AS_FILES"].split()
        assert {"Name": "DATABASE_CA", "ValueFrom": {"Ref": "DatabaseCaSecret"}} in container["Secrets"]


def test_every_role_is_bounded_where_the_account_asks_for_it() -> None:
    roles = {**resources("AWS::IAM::Role"), **read_template(HERE / "oidc.yaml")["Resources"]}
    bounds = [it["Properties"].get("PermissionsBoundary") for it in roles.values() if it["Type"] == "AWS::IAM::Role"]
    assert len(bounds) == 7
    assert all(
        it == {"Fn::If": ["HasBoundary", {"Ref": "PermissionsBoundary"}, {"Ref": "AWS::NoValue"}]} for it in bounds
    )


def test_every_alarm_tells_somebody() -> None:
    alarms = resources("AWS::CloudWatch::Alarm")
    assert len(alarms) == 13
    assert all(it["Properties"]["AlarmActions"] == [{"Ref": "AlarmTopic"}] for it in alarms.values())


def test_the_example_environment_is_complete() -> None:
    environment = read_environment("example")
    given = set(environment.values)
    computed = {"Environment", "Release", "S3PrefixList", "IdentityProvider", "DatabaseCa"}
    for layer in LAYERS:
        for name, declared in read_template(HERE / f"{layer}.yaml")["Parameters"].items():
            known = name in given | computed or "Default" in declared
            assert known or re.search("stack|ARN of a secret|registry's", declared["Description"]), name


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("ApiHost: a", "lines `Name: value`, Region among them"),
        ("Region: a\nApiHosts: a", "unknown parameter ApiHosts; did you mean ApiHost?"),
        ("Region: a\nApiInstanceTyp: a", "did you mean ApiInstanceType?"),
        ("Region: a\nApiEnvironment: a", "ApiEnvironment must be lines `NAME: value`"),
        (
            "Region: a\nApiEnvironment: {MODERATION_THREAD: 1}",
            "unknown setting MODERATION_THREAD; did you mean MODERATION_THREADS?",
        ),
        ("Region: a\nApiEnvironment: {MODERATION_AUTH: off}", "MODERATION_AUTH is made by the templates"),
        ("Region: a\nMonitorEnvironment: {MODERATION_REPLICAS: 3}", "MODERATION_REPLICAS is made by the templates"),
        ("Region: a\nApiEnvironment: {MODERATION_TEXT_HASH_KEY: abc}", "MODERATION_TEXT_HASH_KEY is "),
        (
            "Region: a\nApiEnvironment: {OMP_NUM_THREADS: '$(reboot)'}",
            "OMP_NUM_THREADS is '$(reboot)'; expected letters",
        ),
        ("Region: a\nRegistry: wandb", "Registry is wandb, which needs WandbSecretArn and WandbTasksSecretArn"),
        ("Region: a\nRegistry: wandb\nWandbSecretArn: b", "Registry is wandb, which needs WandbTasksSecretArn"),
        (
            "Region: a\nOidcMetadataUrl: https://a.org\nOidcClientId: b",
            "OidcMetadataUrl is https://a.org, which needs OidcSecretArn",
        ),
        (
            "Region: a\nApiMinInstances: 2",
            "ApiMinInstances is 2 and ApiMaxInstances 2; expected the maximum to be greater",
        ),
        ("Region: a\nMonitorMaxInstances: 1", "MonitorMaxInstances 1; expected the maximum to be greater"),
        ("Region: a\nApiMinInstances: few", "ApiMinInstances is 'few'; expected a whole number"),
    ],
)
def test_a_wrong_environment_file_is_one_line(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "bad.yaml").write_text(content)
    with pytest.raises(DeploymentError, match=re.escape(message)):
        read_environment("bad", tmp_path)
    with pytest.raises(DeploymentError, match="copy .*example.yaml"):
        read_environment("none", tmp_path)


def test_parameters_that_go_together_are_taken(tmp_path: Path) -> None:
    content = (
        "Region: a\nRegistry: wandb\nWandbSecretArn: b\nWandbTasksSecretArn: c\nOidcMetadataUrl: https://a.org\n"
        "OidcClientId: d\nOidcSecretArn: e\nApiMinInstances: 9\nApiMaxInstances: 10\n"
    )
    (tmp_path / "good.yaml").write_text(content)
    assert read_environment("good", tmp_path).values["ApiMaxInstances"] == "10"
    (tmp_path / "local.yaml").write_text("Region: a\nRegistry: local\n")
    read_environment("local", tmp_path)


def test_settings_in_the_file_become_words(tmp_path: Path) -> None:
    content = (
        "Region: a\nApiEnvironment:\n  MODERATION_THREADS: 2\n  MODERATION_CORS_ORIGINS: https://a.org,https://b.org\n"
    )
    (tmp_path / "good.yaml").write_text(content)
    assert read_environment("good", tmp_path).values == {
        "ApiEnvironment": "MODERATION_THREADS=2 MODERATION_CORS_ORIGINS=https://a.org,https://b.org"
    }
    for layer in ("data", "tasks"):
        for name, declared in read_template(HERE / f"{layer}.yaml")["Parameters"].items():
            if name in SETTINGS:
                assert re.fullmatch(declared["AllowedPattern"], "A_B=c/d:1 E=f,g")
                assert not re.fullmatch(declared["AllowedPattern"], "A=b;reboot")


def test_a_database_from_a_snapshot_states_nothing_that_the_snapshot_brings() -> None:
    (database,) = resources("AWS::RDS::DBInstance").values()
    properties = database["Properties"]
    assert properties["DBSnapshotIdentifier"] == {
        "Fn::If": ["FromSnapshot", {"Ref": "DatabaseSnapshot"}, {"Ref": "AWS::NoValue"}]
    }
    for name in ("DBName", "MasterUsername"):
        condition, restored, _ = properties[name]["Fn::If"]
        assert (condition, restored) == ("FromSnapshot", {"Ref": "AWS::NoValue"})


def test_only_tasks_write_to_s3_and_only_to_what_is_handed_out() -> None:
    writing = {}
    for name, role in resources("AWS::IAM::Role").items():
        for policy in role["Properties"]["Policies"]:
            for it in policy["PolicyDocument"]["Statement"]:
                if str(it.get("Action", "")).startswith("s3:Put"):
                    writing[name] = it["Resource"]["Fn::Sub"]
    assert writing == {"tasks.ToolsRun": "arn:${AWS::Partition}:s3:::${Exchange}/out/*"}
    (bucket,) = resources("AWS::S3::Bucket").values()
    named = bucket["Properties"]["BucketName"]["Fn::Sub"]
    (endpoint,) = (it for name, it in resources("AWS::EC2::VPCEndpoint").items() if name == "network.S3Endpoint")
    reading, own = endpoint["Properties"]["PolicyDocument"]["Statement"]
    assert reading["Action"] == "s3:GetObject"
    assert {it["Fn::Sub"].partition(":::")[2].partition("/")[0] for it in own["Resource"]} == {named}


def test_a_task_that_fails_in_nobodys_sight_tells_somebody() -> None:
    (rule,) = resources("AWS::Events::Rule").values()
    pattern = rule["Properties"]["EventPattern"]["detail"]
    assert pattern["lastStatus"] == ["STOPPED"]
    assert pattern["containers"] == {"exitCode": [{"anything-but": [0]}, {"exists": False}]}
    assert [it["Arn"] for it in rule["Properties"]["Targets"]] == [{"Ref": "AlarmTopic"}]
    (policy,) = resources("AWS::SNS::TopicPolicy").values()
    may = [it["Principal"]["Service"] for it in policy["Properties"]["PolicyDocument"]["Statement"]]
    assert may == ["cloudwatch.amazonaws.com", "events.amazonaws.com"]
    schedules = resources("AWS::Scheduler::Schedule")
    assert {it["Properties"]["GroupName"]["Ref"] for it in schedules.values()} == {"Clock"}


def test_an_instance_whose_server_is_not_ready_is_not_replaced() -> None:
    (group,) = resources("AWS::AutoScaling::AutoScalingGroup").values()
    assert group["Properties"]["HealthCheckType"] == "EC2"


def test_the_user_data_is_shell_and_fits() -> None:
    (template,) = resources("AWS::EC2::LaunchTemplate").values()
    script = template["Properties"]["LaunchTemplateData"]["UserData"]["Fn::Base64"]["Fn::Sub"][0]
    # 16 KiB is EC2's limit before it is encoded; ARNs and names come in for the references.
    assert len(script.encode()) < 13_000
    plain = re.sub(r"\$\{[\w:]+\}", "x", script)
    for part in (plain, *re.findall(r"<<'END'\n(.*?)\nEND\n", plain, flags=re.DOTALL)):
        assert subprocess.run(["bash", "-n"], input=part, text=True, capture_output=True, check=False).stderr == ""


def test_the_costs_in_the_docs_are_those_of_the_templates_and_prices() -> None:
    assert f"\n{costs.table()}\n" in (HERE.parents[1] / "docs/aws.md").read_text()
    prices = yaml.safe_load((HERE / "prices.yaml").read_text())
    bought = {
        what for setup in (costs.SMALLEST, costs.TYPICAL) for row in costs.parts(setup).values() for _, what in row
    }
    assert bought == {name for kind in prices.values() for name in kind}
    defaults = read_template(HERE / "tasks.yaml")["Parameters"]
    assert (defaults["TasksCpu"]["Default"], defaults["TasksMemory"]["Default"]) == ("1024", "2048")


def test_every_alarm_stands_in_the_docs() -> None:
    text = (HERE.parents[1] / "docs/aws.md").read_text()
    assert [name for name in resources("AWS::CloudWatch::Alarm") if name.partition(".")[2] not in text] == []
