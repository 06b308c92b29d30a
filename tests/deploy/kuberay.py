"""The fields of KubeRay's RayCluster and RayJob (ray.io/v1), written from its API reference.

From ``ray-operator/apis/ray/v1`` of KubeRay 1.6, as JSON Schema: no level takes an unknown field.
What is Kubernetes' own inside them (a pod's template) are the strict definitions that
kubernetes-validate carries. Left out, and so refused, is what needs a feature gate or is for
RayServices, and a Service of our own for the head.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry, Resource

Schema = dict[str, Any]

DEFINITIONS = "https://kubernetes.io/api/_definitions.json"
BACKENDS = ("ray.io/kuberay-operator", "kueue.x-k8s.io/multikueue")


def kubernetes(name: str) -> Schema:
    return {"$ref": f"{DEFINITIONS}#/$defs/io.k8s.{name}"}


def core(name: str) -> Schema:
    return kubernetes(f"api.core.v1.{name}")


def fields(required: str = "", **properties: Schema) -> Schema:
    """Return the schema of an object that has these fields and no other."""
    return {
        "type": "object",
        "properties": properties,
        "required": required.split(),
        "additionalProperties": False,
    }


def array(items: Schema) -> Schema:
    return {"type": "array", "items": items}


TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}
POSITIVE: Schema = {"type": "integer", "minimum": 1, "maximum": 2**31 - 1}
NUMBER: Schema = {"type": "number", "minimum": 0}
TEXTS: Schema = {"type": "object", "additionalProperties": TEXT}
MANAGER: Schema = {"enum": BACKENDS}


def one_of(*values: str) -> Schema:
    return {"enum": values}


REDIS_CREDENTIAL = fields(value=TEXT, valueFrom=core("EnvVarSource"))

GROUP = {
    "rayStartParams": TEXTS,
    "template": core("PodTemplateSpec"),
    "resources": TEXTS,
    "labels": TEXTS,
}

HEAD = fields(
    "template",
    **GROUP,
    enableIngress=FLAG,
    serviceType=one_of("ClusterIP", "NodePort", "LoadBalancer"),
)

WORKERS = fields(
    "groupName template minReplicas maxReplicas",
    **GROUP,
    groupName=TEXT,
    replicas=COUNT,
    minReplicas=COUNT,
    maxReplicas=COUNT,
    idleTimeoutSeconds=COUNT,
    numOfHosts=POSITIVE,
    scaleStrategy=fields(workersToDelete=array(TEXT)),
)

AUTOSCALER = fields(
    resources=core("ResourceRequirements"),
    image=TEXT,
    imagePullPolicy=one_of("Always", "IfNotPresent", "Never"),
    securityContext=core("SecurityContext"),
    idleTimeoutSeconds=COUNT,
    upscalingMode=one_of("Default", "Aggressive", "Conservative"),
    version=one_of("v1", "v2"),
    env=array(core("EnvVar")),
    envFrom=array(core("EnvFromSource")),
    volumeMounts=array(core("VolumeMount")),
)

CLUSTER = fields(
    "headGroupSpec",
    authOptions=fields(mode=one_of("disabled", "token")),
    suspend=FLAG,
    managedBy=MANAGER,
    autoscalerOptions=AUTOSCALER,
    headServiceAnnotations=TEXTS,
    enableInTreeAutoscaling=FLAG,
    gcsFaultToleranceOptions=fields(
        "redisAddress",
        redisAddress=TEXT,
        redisUsername=REDIS_CREDENTIAL,
        redisPassword=REDIS_CREDENTIAL,
        externalStorageNamespace=TEXT,
    ),
    headGroupSpec=HEAD,
    rayVersion=TEXT,
    workerGroupSpecs=array(WORKERS),
    upgradeStrategy=fields(type=one_of("Recreate", "None")),
)

JOB = fields(
    activeDeadlineSeconds=POSITIVE,
    backoffLimit=COUNT,
    rayClusterSpec=CLUSTER,
    submitterPodTemplate=core("PodTemplateSpec"),
    metadata=TEXTS,
    clusterSelector=TEXTS,
    submitterConfig=fields(backoffLimit=COUNT),
    managedBy=MANAGER,
    entrypoint=TEXT,
    runtimeEnvYAML=TEXT,
    jobId=TEXT,
    submissionMode=one_of("K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"),
    entrypointResources=TEXT,
    entrypointNumCpus=NUMBER,
    entrypointNumGpus=NUMBER,
    ttlSecondsAfterFinished=COUNT,
    shutdownAfterJobFinishes=FLAG,
    suspend=FLAG,
)
# What KubeRay's own validation adds: a job runs on a cluster of its own or on one that is there,
# and only on its own is it tried again.
JOB["anyOf"] = [{"required": ["rayClusterSpec"]}, {"required": ["clusterSelector"]}]
JOB["if"] = {"required": ["clusterSelector"]}
JOB["then"] = {"properties": {"backoffLimit": {"const": 0}}}

SPECS = {"RayCluster": CLUSTER, "RayJob": JOB}


def validate(document: dict[str, Any], version: str) -> None:
    """Validate a RayCluster or a RayJob, with Kubernetes' parts as of that version.

    Raises:
        jsonschema.ValidationError: it is not valid.
    """
    schema = fields(
        "apiVersion kind metadata spec",
        apiVersion={"const": "ray.io/v1"},
        kind={"const": document["kind"]},
        metadata=kubernetes("apimachinery.pkg.apis.meta.v1.ObjectMeta"),
        spec=SPECS[document["kind"]],
    )
    Draft202012Validator(schema, registry=_definitions(version)).validate(document)


@cache
def _definitions(version: str) -> Registry[Any]:
    folder = files("kubernetes_validate") / "kubernetes-json-schema" / f"v{version}.0-local-strict"
    definitions = json.loads((folder / "_definitions.json").read_text("utf-8"))
    return Resource.from_contents(definitions) @ Registry()
