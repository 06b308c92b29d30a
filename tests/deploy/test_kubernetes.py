"""The manifests of deploy/kubernetes: rendered by kubectl, and checked without a cluster."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from jsonschema import ValidationError

from deploy import kuberay
from sweep.spec.confined import CONFINED

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "deploy" / "kubernetes"
COMPOSE = ROOT / "docker-compose.yml"
VERSIONS = ("1.30", "1.37")
"""Of Kubernetes: the oldest that the README promises, and the newest whose schemas are here."""

Document = dict[str, Any]


def run_kubectl(folder: Path) -> list[Document]:
    kubectl = Path(sys.executable).with_name("kubectl")
    done = subprocess.run([kubectl, "kustomize", folder], capture_output=True, text=True)
    assert not done.stderr, done.stderr  # an old field is a warning here, and an error later
    return list(yaml.safe_load_all(done.stdout))


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Document]]:
    """Every kustomization as a lab applies it: with its secrets, and once with autoscaling."""
    copy = tmp_path_factory.mktemp("deploy") / "kubernetes"
    shutil.copytree(MANIFESTS, copy)
    for example in (copy / "secrets").glob("*.example"):
        example.with_suffix("").write_text(example.read_text("utf-8"), "utf-8")
    shutil.copytree(copy / "lab", copy / "autoscaled")
    edited = copy / "autoscaled" / "kustomization.yaml"
    before = edited.read_text("utf-8")
    after = before.replace("components: []", "components:").replace("  # - ../auto", "  - ../auto")
    edited.write_text(after, "utf-8")
    assert after != before
    return {name: run_kubectl(copy / name) for name in (*APPLIED, "autoscaled")}


APPLIED = ("secrets", "lab", "data", "job")
"""What a lab applies, in this order."""
FOLDERS = (*APPLIED, "autoscaled")
every_folder = pytest.mark.parametrize("folder", FOLDERS)


def only(documents: list[Document], kind: str, name: str | None = None) -> Document:
    (found,) = (
        document
        for document in documents
        if document["kind"] == kind and name in (None, document["metadata"]["name"])
    )
    return found


def check(document: Document) -> None:
    for version in VERSIONS:
        if document["kind"] in kuberay.SPECS:
            kuberay.validate(document, version)
        else:
            kubernetes_validate.validate(document, version, strict=True)


def nodes(value: Any) -> Iterator[Document]:
    """Yield every mapping in a document, at any depth."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from nodes(item)


def pods(documents: list[Document]) -> list[Document]:
    return [found for found in nodes(documents) if "containers" in found]


def containers(documents: list[Document]) -> list[Document]:
    return [found for pod in pods(documents) for found in pod["containers"]]


def ray_specs(rendered: dict[str, list[Document]]) -> list[Document]:
    return [
        only(rendered["lab"], "RayCluster")["spec"],
        only(rendered["job"], "RayJob")["spec"]["rayClusterSpec"],
        only(rendered["autoscaled"], "RayCluster")["spec"],
    ]


SERVICE = {
    "ConfigMap",
    "Deployment",
    "Ingress",
    "Namespace",
    "NetworkPolicy",
    "PersistentVolumeClaim",
    "RayCluster",
    "Service",
}
KINDS = {
    "secrets": {"Secret"},
    "lab": SERVICE,
    "data": {"Job", "NetworkPolicy"},
    "job": {"ConfigMap", "RayJob"},  # and no cluster beside it
    "autoscaled": SERVICE,
}


@every_folder
def test_what_a_lab_applies_is_valid(rendered: dict[str, list[Document]], folder: str) -> None:
    kinds = {document["kind"] for document in rendered[folder]}
    assert (
        kinds
        >= {
            "secrets": {"Secret"},
            "lab": {"Namespace", "RayCluster", "Deployment", "NetworkPolicy", "Ingress"},
            "data": {"Job", "NetworkPolicy"},
            "job": {"RayJob", "ConfigMap"},
            "autoscaled": {"RayCluster"},
        }[folder]
    )
    for document in rendered[folder]:
        check(document)
        assert document["metadata"].get("namespace", "sweep") == "sweep"


def put(*path: str | int, value: Any) -> Callable[[Document], None]:
    def change(document: Document) -> None:
        *way, last = path
        for step in way:
            document = document[step]
        document[last] = value  # type: ignore[index]

    return change


HEAD_POD = ("spec", "headGroupSpec", "template", "spec")
WRONG = {
    "cluster: misspelt": ("lab", "RayCluster", put("spec", "rayVersoin", value="2")),
    "cluster: number as text": (
        "lab",
        "RayCluster",
        put("spec", "workerGroupSpecs", 0, "replicas", value="2"),
    ),
    "cluster: misspelt in a group": (
        "lab",
        "RayCluster",
        put("spec", "workerGroupSpecs", 1, "minReplica", value=1),
    ),
    "cluster: authentication": ("lab", "RayCluster", put("spec", "authOptions", "mode", value="")),
    "cluster: start parameter as number": (
        "lab",
        "RayCluster",
        put("spec", "headGroupSpec", "rayStartParams", "num-cpus", value=0),
    ),
    "cluster: misspelt in a pod": (
        "lab",
        "RayCluster",
        put(*HEAD_POD, "terminationGracePeriod", value=60),
    ),
    "cluster: misspelt in a container": (
        "lab",
        "RayCluster",
        put(*HEAD_POD, "containers", 0, "securityContext", "readOnlyRootFileSystem", value=True),
    ),
    "cluster: autoscaler": (
        "autoscaled",
        "RayCluster",
        put("spec", "autoscalerOptions", "idleTimeout", value=60),
    ),
    "job: misspelt": ("job", "RayJob", put("spec", "backOffLimit", value=3)),
    "job: a second cluster": (
        "job",
        "RayJob",
        put("spec", "clusterSelector", value={"ray.io/cluster": "sweep"}),
    ),
    "job: misspelt in its cluster": (
        "job",
        "RayJob",
        put("spec", "rayClusterSpec", "headGroupSpecs", value={}),
    ),
    "job: misspelt in its submitter": (
        "job",
        "RayJob",
        put("spec", "submitterPodTemplate", "spec", "container", value=[]),
    ),
    "deployment: misspelt": ("lab", "Deployment", put("spec", "replica", value=1)),
    "deployment: text as number": (
        "lab",
        "Deployment",
        put("spec", "template", "spec", "containers", 0, "image", value=1),
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_mistake_is_refused(rendered: dict[str, list[Document]], case: str) -> None:
    folder, kind, spoil = WRONG[case]
    document = yaml.safe_load(yaml.safe_dump(only(rendered[folder], kind)))
    check(document)
    spoil(document)
    with pytest.raises(ValidationError):
        check(document)


def test_only_a_job_with_its_own_cluster_is_tried_again(
    rendered: dict[str, list[Document]],
) -> None:
    job = yaml.safe_load(yaml.safe_dump(only(rendered["job"], "RayJob")))
    assert job["spec"]["backoffLimit"] > 0
    del job["spec"]["rayClusterSpec"]
    job["spec"]["clusterSelector"] = {"ray.io/cluster": "sweep"}
    with pytest.raises(ValidationError):
        check(job)
    job["spec"]["backoffLimit"] = 0
    check(job)


@every_folder
def test_pods_have_no_more_rights_than_they_need(
    rendered: dict[str, list[Document]], folder: str
) -> None:
    """By the profile "restricted", which the namespace enforces, and some more."""
    for pod in pods(rendered[folder]):
        security = pod["securityContext"]
        assert security["runAsNonRoot"]
        assert security["runAsUser"] == 1000  # the user of the image
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not pod.keys() & {"hostNetwork", "hostPID", "hostIPC", "initContainers"}
        sources = {kind for volume in pod["volumes"] for kind in volume.keys() - {"name"}}
        assert sources <= {"persistentVolumeClaim", "emptyDir", "secret", "configMap"}
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            limits = container["resources"]["limits"]
            assert limits.keys() >= {"cpu", "memory"}
            assert container["resources"]["requests"] == limits


def test_no_pod_has_a_token_of_kubernetes_but_the_autoscalers(
    rendered: dict[str, list[Document]],
) -> None:
    having = [
        (folder, pod["containers"][0]["name"])
        for folder in FOLDERS
        for pod in pods(rendered[folder])
        if pod["automountServiceAccountToken"]
    ]
    assert having == [("autoscaled", "ray")]
    head = only(rendered["autoscaled"], "RayCluster")["spec"]["headGroupSpec"]["template"]["spec"]
    assert head["automountServiceAccountToken"]


def test_the_network_is_closed_but_for_what_is_named(rendered: dict[str, list[Document]]) -> None:
    policies = {
        found["metadata"]["name"]: found["spec"]
        for folder in FOLDERS
        for found in rendered[folder]
        if found["kind"] == "NetworkPolicy"
    }
    closed = policies.pop("within-the-namespace")
    assert closed["podSelector"] == {}
    assert set(closed["policyTypes"]) == {"Ingress", "Egress"}
    assert closed["ingress"] == [{"from": [{"podSelector": {}}]}]
    for name, policy in policies.items():
        assert policy["podSelector"]["matchLabels"], name
        for rule in policy.get("ingress", []):
            assert all("namespaceSelector" in peer for peer in rule["from"]), name
        for rule in policy.get("ingress", []) + policy.get("egress", []):
            assert rule["ports"], name
    to_the_world = {name for name, policy in policies.items() if "egress" in policy}
    assert to_the_world == {"mlflow-to-its-stores", "fetch-data", "autoscaler-to-kubernetes"}


def test_images_and_versions_are_those_of_the_repository(
    rendered: dict[str, list[Document]],
) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    image = f"registry.example.org/sweep:{project['version']}"
    used = {found["image"] for folder in FOLDERS for found in containers(rendered[folder])}
    assert used == {image}
    assert f"docker push {image}" in (MANIFESTS / "README.md").read_text("utf-8")
    (ray,) = re.findall(r"^ray==([\d.]+) ", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    for spec in ray_specs(rendered):
        assert spec["rayVersion"] == ray
        assert spec["authOptions"] == {"mode": "token"}


def test_groups_can_have_as_many_nodes_as_they_ask_for(
    rendered: dict[str, list[Document]],
) -> None:
    for spec in ray_specs(rendered):
        assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
        cpu, gpu = spec["workerGroupSpecs"]
        for group in (cpu, gpu):
            assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
        (container,) = gpu["template"]["spec"]["containers"]
        assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_no_secret_is_here(rendered: dict[str, list[Document]]) -> None:
    for example in (MANIFESTS / "secrets").glob("*.env.example"):
        for line in example.read_text("utf-8").splitlines():
            assert line.startswith("#") or line.endswith("=") or "USERNAME=" in line, line
    assert "\ndatabase_uri =\n" in (MANIFESTS / "secrets" / "auth.ini.example").read_text("utf-8")
    assert not any(
        document["kind"] == "Secret" for folder in FOLDERS[1:] for document in rendered[folder]
    )
    words = re.compile(r"PASSWORD|SECRET|TOKEN|ACCESS_KEY|STORE_URI")
    for container in (c for folder in FOLDERS for c in containers(rendered[folder])):
        for variable in container.get("env", []):
            assert not (words.search(variable["name"]) and "value" in variable)
    ignored = (MANIFESTS / "secrets" / ".gitignore").read_text("utf-8").split()
    assert ignored == ["*.env", "auth.ini"]


def test_whatever_a_manifest_refers_to_is_there(rendered: dict[str, list[Document]]) -> None:
    there = [document for folder in FOLDERS[:-1] for document in rendered[folder]]
    names = {(document["kind"], document["metadata"]["name"]) for document in there}
    keys = {
        (document["metadata"]["name"], key)
        for document in there
        if document["kind"] in ("Secret", "ConfigMap")
        for key in document["data"]
    }
    referred, used = set(), set()
    for found in nodes(there):
        referred |= {
            (kind, found[field][name])
            for field, kind, name in [
                ("persistentVolumeClaim", "PersistentVolumeClaim", "claimName"),
                ("secret", "Secret", "secretName"),
                ("secretRef", "Secret", "name"),
                ("configMap", "ConfigMap", "name"),
                ("configMapRef", "ConfigMap", "name"),
            ]
            if field in found
        }
        if "secretKeyRef" in found:
            used.add((found["secretKeyRef"]["name"], found["secretKeyRef"]["key"]))
    referred |= {("Secret", name) for name, _ in used}
    assert referred <= names
    assert used <= keys
    assert {name for kind, name in names if kind == "Secret"} == {
        name for kind, name in referred if kind == "Secret"
    }
    mounted = {(kind, name) for kind, name in referred if kind == "PersistentVolumeClaim"}
    assert mounted == {found for found in names if found[0] == "PersistentVolumeClaim"}
    services = {name for kind, name in names if kind == "Service"}
    services |= {f"{name}-head-svc" for kind, name in names if kind == "RayCluster"}  # KubeRay's
    asked = {found["service"]["name"] for found in nodes(there) if "service" in found}
    assert asked == services


def test_volumes_are_mounted_where_the_settings_say(rendered: dict[str, list[Document]]) -> None:
    for spec in ray_specs(rendered):
        for pod in pods([spec]):
            (container,) = pod["containers"]
            mounts = {found["name"]: found for found in container["volumeMounts"]}
            settings = plain_settings(container)
            assert mounts["sweeps"]["mountPath"] == settings["SWEEP_DIR"]
            assert mounts["data"]["mountPath"] == settings["SWEEP_DATA"]
            assert mounts["data"]["readOnly"]
            assert mounts["tmp"]["mountPath"] == settings["HOME"]
            volumes = {found["name"]: found for found in pod["volumes"]}
            assert mounts.keys() == volumes.keys()
            assert volumes["shm"]["emptyDir"]["medium"] == "Memory"


def test_every_node_of_ray_is_probed_without_a_program_of_its_image(
    rendered: dict[str, list[Document]],
) -> None:
    """KubeRay's own probes may call wget, which the image has not."""
    for spec in ray_specs(rendered):
        for pod in pods([spec]):
            (container,) = pod["containers"]
            for kind in ("livenessProbe", "readinessProbe"):
                assert container[kind]["httpGet"] == {"path": "/api/healthz", "port": 52365}


def plain_settings(container: Document) -> dict[str, str | None]:
    return {found["name"]: found.get("value") for found in container["env"]}


READ_IN = {
    "SWEEP_": ["sweep"],
    "MLFLOW_": ["sweep", "mlflow/environment_variables.py", "mlflow/cli", "mlflow/utils"],
    "AWS_": ["botocore/configprovider.py", "botocore/credentials.py"],
    "RAY_": [
        "ray/_common/usage",
        "ray/_private/ray_constants.py",
        "ray/dashboard/modules/job",
    ],
}
"""Which source files read variables with such a name."""


@cache
def source(path: str) -> str:
    package, *rest = path.split("/")
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    place = Path(spec.origin).parent.joinpath(*rest)
    every = place.rglob("*.py") if place.is_dir() else [place]
    return "\n".join(file.read_text("utf-8") for file in every)


def test_every_setting_is_one_that_something_reads(rendered: dict[str, list[Document]]) -> None:
    names = {
        name
        for folder in FOLDERS
        for container in containers(rendered[folder])
        for name in plain_settings(container)
    }
    names |= {
        key
        for folder in ("secrets", "lab")
        for found in rendered[folder]
        if found["kind"] in ("Secret", "ConfigMap")
        for key in found["data"]
    }
    for name in names - {"HOME", "auth.ini"}:
        (places,) = (paths for prefix, paths in READ_IN.items() if name.startswith(prefix))
        named = re.compile(f"[\"']{name}[\"']")
        assert any(named.search(source(place)) for place in places), name


def test_the_job_runs_the_search_space_that_is_mounted(
    rendered: dict[str, list[Document]],
) -> None:
    spec = only(rendered["job"], "RayJob")["spec"]
    (head,) = spec["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"]
    (folder,) = (m["mountPath"] for m in head["volumeMounts"] if m["name"] == "search-space")
    (file,) = only(rendered["job"], "ConfigMap")["data"]
    assert spec["entrypoint"] == f"sweep run {folder}/{file} --address auto"
    assert yaml.safe_load(spec["runtimeEnvYAML"]) == {"env_vars": {CONFINED: "1"}}
    example = (ROOT / "search_spaces" / "quickstart.yaml").read_bytes()
    assert (MANIFESTS / "job" / file).read_bytes() == example
    shared = only(rendered["lab"], "RayCluster")["spec"]["headGroupSpec"]
    assert plain_settings(head) == plain_settings(containers([shared])[0])
    assert spec["shutdownAfterJobFinishes"]


def test_the_settings_are_those_of_the_compose_file(rendered: dict[str, list[Document]]) -> None:
    services = yaml.safe_load(COMPOSE.read_text("utf-8"))["services"]
    image = (ROOT / "deploy" / "Dockerfile").read_text("utf-8")
    of_image = dict(re.findall(r"(SWEEP_\w+)=(\S+)", image))
    (head,) = pods([ray_specs(rendered)[0]["headGroupSpec"]])[0]["containers"]
    ours = plain_settings(head)
    theirs = of_image | services["ray-head"]["environment"]
    assert ours.keys() - {"HOME"} == theirs.keys() - {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN"}
    for name, value in ours.items():
        if value is not None and name in theirs:
            assert value == theirs[name], name

    (mlflow,) = pods([only(rendered["lab"], "Deployment")])[0]["containers"]
    given = {
        key
        for folder, kind in [("secrets", "Secret"), ("lab", "ConfigMap")]
        for found in rendered[folder]
        if found["kind"] == kind and found["metadata"]["name"] != "mlflow-user"
        for key in found["data"]
    }
    given |= plain_settings(mlflow).keys() - {"HOME"}
    by_option = {
        "--workers": "MLFLOW_WORKERS",
        "--artifacts-destination": "MLFLOW_ARTIFACTS_DESTINATION",
        "--allowed-hosts": "MLFLOW_SERVER_ALLOWED_HOSTS",
        "--cors-allowed-origins": "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS",
    }
    command = services["mlflow"]["command"]
    options = {word.split("=", 1)[0] for word in command}
    assert [w for w in command if w.split("=", 1)[0] not in by_option] == mlflow["command"]
    assert by_option.keys() <= options
    assert given - {"auth.ini"} == {*services["mlflow"]["environment"], *by_option.values()}


def test_the_readme_applies_every_folder_and_names_no_other() -> None:
    text = (MANIFESTS / "README.md").read_text("utf-8")
    assert tuple(re.findall(r"kubectl apply -k (\w+)", text)) == APPLIED
    for folder in re.findall(r"`(?:\.\./)?([a-z]+)/`", text):
        assert (MANIFESTS / folder / "kustomization.yaml").exists(), folder
    known = [*MANIFESTS.rglob("*.yaml"), *MANIFESTS.rglob("*.env*"), *ROOT.glob("*/*.yaml")]
    for name in re.findall(r"\w[\w/-]*\.(?:yaml|env)\b", text):
        assert any(str(path).removesuffix(".example").endswith("/" + name) for path in known), name


def test_the_readme_says_how_many_trials_wait_at_most() -> None:
    source = (ROOT / "sweep" / "orchestration" / "ray_tune.py").read_text("utf-8")
    (most,) = re.findall(r'"TUNE_MAX_PENDING_TRIALS_PG": "(\d+)"', source)
    assert f"up to {most} trials waiting" in (MANIFESTS / "README.md").read_text("utf-8")
