"""The policies of docs/aws.md allow what the code calls, and nothing else."""

from __future__ import annotations

import ast
import inspect
import textwrap
from functools import cache
from pathlib import Path

import pytest
from botocore import xform_name
from botocore.session import Session
from pyiceberg.catalog.glue import GlueCatalog

from tests.cloud.permissions import action, allowed, policies, refused

RESOURCES = Path(__file__).parents[1] / "resources"

# Calls of libraries that our code does not spell out.
PYARROW = ["GetObject", "HeadObject", "ListObjectsV2", "PutObject", "DeleteObject", "HeadBucket"]
MULTIPART = ["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload", "AbortMultipartUpload"]
DAGSTER_WRITES_LOGS = ["HeadObject", "PutObject", *MULTIPART]
DAGSTER_READS_LOGS = ["HeadObject", "GetObject", "ListObjectsV2"]
MLFLOW_SERVES_ARTIFACTS = ["HeadObject", "GetObject", "ListObjectsV2", "PutObject", *MULTIPART]
# Athena writes results and data files with the rights of who asks; AWS lists these for a place of results.
ATHENA_ITSELF = ["GetBucketLocation", "GetObject", "ListObjectsV2", "PutObject", "ListParts", "ListMultipartUploads"]

# A copy of a tagged object onto itself reads its tags and writes new ones.
TAGS = ["GetObjectTagging", "PutObjectTagging"]

# What the code could call and no role may: the databases are made once, by who makes the bucket.
MADE_BEFORE = {"glue:CreateDatabase"}
# What a role needs only where storage.yaml names the workgroups of others: docs/aws.md says it apart.
OF_OTHERS = {"athena:ListQueryExecutions", "athena:BatchGetQueryExecution"}


@cache
def operations(service: str) -> dict[str, str]:
    """boto3's method names of a service, with the operation that each calls."""
    return {xform_name(name): name for name in Session().get_service_model(service).operation_names}


def sources() -> list[ast.Module]:
    return [ast.parse(path.read_text("utf-8")) for path in sorted(RESOURCES.rglob("*.py"))]


def calls_through_boto3() -> set[tuple[str, str]]:
    """Operations of the services that resources/ has a client of, named as a method or in a text."""
    nodes = [node for tree in sources() for node in ast.walk(tree)]
    services = {
        node.args[0].value
        for node in nodes
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name | ast.Attribute)
        and (node.func.id if isinstance(node.func, ast.Name) else node.func.attr) == "client"
        and node.args
        and isinstance(node.args[0], ast.Constant)
    } - {"glue"}  # whose client is handed to pyiceberg, which makes all calls of it
    named = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    named |= {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return {
        (service, operations(service)[name]) for service in services for name in named if name in operations(service)
    }


def calls_through_pyiceberg() -> set[tuple[str, str]]:
    """Glue's operations behind the methods of the catalog that resources/ calls, and behind a commit."""
    wanted = {
        node.func.attr
        for tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name | ast.Attribute)
        and (node.func.value.id if isinstance(node.func.value, ast.Name) else node.func.value.attr) == "catalog"
    } | {"commit_table"}
    found: set[tuple[str, str]] = set()
    seen: set[str] = {"_create_table_s3tables"}  # only of a database of S3 Tables, which ours is not
    while wanted:
        name = wanted.pop()
        seen.add(name)
        method = getattr(GlueCatalog, name, None)
        if not inspect.isfunction(method):
            continue
        for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(method)))):
            if not isinstance(node, ast.Attribute):
                continue
            if ast.unparse(node.value) == "self.glue" and node.attr in operations("glue"):
                found.add(("glue", operations("glue")[node.attr]))
            elif ast.unparse(node.value) == "self.glue" and node.attr == "get_paginator":
                raise AssertionError(f"{name} asks Glue through a paginator: read its name too")
            elif ast.unparse(node.value) == "self" and node.attr not in seen:
                wanted.add(node.attr)
    return found


def on_s3(*calls: list[str]) -> set[tuple[str, str]]:
    return {("s3", operation) for several in calls for operation in several}


def called(role: str) -> set[tuple[str, str]]:
    """What a role is there for."""
    match role:
        case "cdap-runs":
            libraries = on_s3(PYARROW, MULTIPART, DAGSTER_WRITES_LOGS, ATHENA_ITSELF, TAGS)
            return calls_through_boto3() | calls_through_pyiceberg() | libraries
        case "cdap-ui":
            return on_s3(DAGSTER_READS_LOGS)
        case "cdap-mlflow":
            return on_s3(MLFLOW_SERVES_ARTIFACTS)
    raise AssertionError(f"say here what role {role} of docs/aws.md is there for")


def test_the_code_is_read_for_what_it_calls() -> None:
    assert {("s3", "HeadObject"), ("s3", "ListObjectsV2"), ("sqs", "DeleteMessageBatch")} <= calls_through_boto3()
    assert ("athena", "StartQueryExecution") in calls_through_boto3()
    assert {("glue", "UpdateTable"), ("glue", "GetTable"), ("glue", "CreateDatabase")} <= calls_through_pyiceberg()


@pytest.mark.parametrize("role", ["cdap-runs", "cdap-ui", "cdap-mlflow"])
def test_a_role_may_do_what_its_part_calls_and_nothing_else(role: str) -> None:
    needed = {action(*call) for call in called(role)} - MADE_BEFORE - OF_OTHERS
    assert allowed(role) == needed


def test_no_action_is_a_pattern_and_no_resource_is_everything() -> None:
    assert set(policies()) == {"cdap-runs", "cdap-ui", "cdap-mlflow"}
    for role, statements in policies().items():
        for statement in statements:
            assert statement["Effect"] == "Allow"
            assert not [name for name in statement["Action"] if "*" in name or "?" in name], role
            for resource in statement["Resource"]:
                service, _, rest = resource.removeprefix("arn:aws:").partition(":")
                assert resource.startswith("arn:aws:")
                assert rest.count("*") == rest.endswith("/*"), resource
                assert {name.partition(":")[0] for name in statement["Action"]} == {service}, resource


def resources(role: str, service: str) -> set[str]:
    return {
        resource.rpartition(":")[2]
        for statement in policies()[role]
        for resource in statement["Resource"]
        if resource.startswith(f"arn:aws:{service}:")
    }


def test_glue_athena_and_sqs_are_allowed_on_our_own_alone() -> None:
    ours = {"catalog", "database/cdap", "database/cdap_staging", "table/cdap/*", "table/cdap_staging/*"}
    assert resources("cdap-runs", "glue") == ours | {"database/default"}
    [default] = [
        statement
        for statement in policies()["cdap-runs"]
        if any(resource.endswith("database/default") for resource in statement["Resource"])
    ]
    assert default["Action"] == ["glue:GetDatabase"]
    assert resources("cdap-runs", "athena") == {"workgroup/cdap"}
    assert resources("cdap-runs", "sqs") == {"cdap-landing"}


def test_nobody_but_mlflow_touches_models_and_nobody_but_runs_touches_tables() -> None:
    assert resources("cdap-runs", "s3") == {
        "example-cdap",
        "example-cdap/athena/*",
        "example-cdap/cdap/*",
        "example-cdap/logs/*",
    }
    assert resources("cdap-ui", "s3") == {"example-cdap", "example-cdap/logs/*"}
    assert resources("cdap-mlflow", "s3") == {"example-cdap", "example-cdap/mlflow/*"}


def test_a_call_that_no_role_is_allowed_is_found() -> None:
    assert refused(["cdap-ui"], [("s3", "GetObject"), ("s3", "PutObject")]) == {"s3:PutObject"}
    assert refused(["cdap-ui", "cdap-runs"], [("s3", "PutObject"), ("sqs", "DeleteMessageBatch")]) == set()
    assert refused(["cdap-runs"], [("glue", "DeleteDatabase")]) == {"glue:DeleteDatabase"}
