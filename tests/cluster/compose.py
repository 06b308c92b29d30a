"""Reads docker-compose.yml as Compose does, as far as the file goes.

What is not known here is refused, so that nothing in the file is passed over in silence: a key that
is new there must be understood here first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
COMPOSE_FILE = ROOT / "docker-compose.yml"

VARIABLE = re.compile(r"\$(?:(\$)|\{(\w+)(?:(:-|:\?)((?:[^{}]|\{[^{}]*\})*))?\})")

ACTED_ON = {
    *("image", "entrypoint", "command", "environment", "user", "init", "read_only", "cap_drop"),
    *("security_opt", "networks", "ports", "depends_on", "volumes", "tmpfs", "configs", "shm_size"),
    *("stop_grace_period", "healthcheck", "profiles", "deploy"),
}
FOR_DOCKER_ALONE = {"build", "pull_policy", "logging", "restart"}
HEALTHY, COMPLETED = "service_healthy", "service_completed_successfully"


class ComposeError(ValueError):
    """The file asks for something that is not understood here, or a variable is not set."""


@dataclass(frozen=True)
class Volume:
    """A named volume or a folder beside the file, and where a container has it."""

    source: str
    target: str
    read_only: bool

    @property
    def named(self) -> bool:
        return not self.source.startswith((".", "/"))


@dataclass(frozen=True)
class Port:
    """A port of a container, and the address and port of the host that lead there."""

    address: str
    published: int
    target: int


@dataclass(frozen=True)
class Health:
    """How Docker would ask whether a container is well."""

    test: tuple[str, ...]
    timeout: float
    patience: float
    """Seconds after the start until it must be well."""


@dataclass(frozen=True)
class Config:
    """A file that Compose writes into a container, as root's."""

    text: str
    mode: int


@dataclass(frozen=True)
class Service:
    """One service, every variable replaced."""

    name: str
    image: str
    entrypoint: tuple[str, ...] | None
    command: tuple[str, ...] | None
    environment: Mapping[str, str]
    user: str | None
    init: bool
    read_only: bool
    no_privileges: bool
    """Whether it has no capability, and cannot get one."""
    networks: tuple[str, ...]
    ports: tuple[Port, ...]
    needs: Mapping[str, str]
    """What is to be so before it starts, by service: that one is well, or has done its work."""
    volumes: tuple[Volume, ...]
    tmpfs: Mapping[str, str]
    """Mount options by path."""
    configs: Mapping[str, Config]
    """By path."""
    shm_size: str
    stop_seconds: float
    health: Health | None
    """None, if it is not asked: it does its work and ends."""
    replicas: int
    profiles: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class Deployment:
    """What the file says."""

    services: Mapping[str, Service]
    networks: Mapping[str, bool]
    """Whether each leads outside."""


def raw() -> dict[str, Any]:
    """Return the file as it stands, with its anchors followed."""
    yaml = YAML(typ="safe", pure=True)
    yaml.version = "1.1"  # as Compose: 0444 is octal
    document: dict[str, Any] = yaml.load(COMPOSE_FILE)
    return document


def read(variables: Mapping[str, str]) -> Deployment:
    """Return the file with these variables in it.

    Raises:
        ComposeError: a variable that is required is missing, or a key is not known here.
    """
    document = _filled(raw(), variables)
    configs = {name: config["content"] for name, config in document["configs"].items()}
    services = {name: _service(name, body, configs) for name, body in document["services"].items()}
    networks = {
        name: not (body or {}).get("internal", False) for name, body in document["networks"].items()
    }
    return Deployment(services, networks)


def fill(text: str, variables: Mapping[str, str]) -> str:
    """Replace ``${NAME}``, ``${NAME:-default}``, ``${NAME:?message}`` and ``$$``."""

    def value(match: re.Match[str]) -> str:
        dollar, name, operator, rest = match.groups()
        if dollar:
            return "$"
        given = variables.get(name, "")
        if operator == ":?" and not given:
            raise ComposeError(f"required variable {name} is missing a value: {rest}")
        return given or (rest if operator == ":-" else "")

    return VARIABLE.sub(value, text)


def seconds(text: str) -> float:
    """Return a duration of Compose, such as 1m30s, in seconds."""
    parts = re.findall(r"(\d+)(h|ms|m|s)", text)
    if not parts or "".join(map("".join, parts)) != text:
        raise ComposeError(f"not a duration: {text}")
    return sum(
        int(number) * {"h": 3600, "m": 60, "s": 1, "ms": 1e-3}[unit] for number, unit in parts
    )


def _filled(node: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(node, str):
        return fill(node, variables)
    if isinstance(node, Mapping):
        return {key: _filled(value, variables) for key, value in node.items()}
    if isinstance(node, Sequence):
        return [_filled(value, variables) for value in node]
    return node


def _service(name: str, body: Mapping[str, Any], configs: Mapping[str, str]) -> Service:
    unknown = set(body) - ACTED_ON - FOR_DOCKER_ALONE
    if unknown:
        raise ComposeError(f"service {name}: {sorted(unknown)} is not understood by tests/cluster")
    conditions = {need: rule["condition"] for need, rule in body.get("depends_on", {}).items()}
    if set(conditions.values()) - {HEALTHY, COMPLETED}:
        raise ComposeError(f"service {name}: depends_on {conditions}")
    return Service(
        name=name,
        image=body["image"],
        entrypoint=_words(body.get("entrypoint")),
        command=_words(body.get("command")),
        environment={key: str(value) for key, value in body.get("environment", {}).items()},
        user=body.get("user"),
        init=body.get("init", False),
        read_only=body.get("read_only", False),
        no_privileges=body.get("cap_drop") == ["ALL"]
        and body.get("security_opt") == ["no-new-privileges:true"],
        networks=tuple(body["networks"]),
        ports=tuple(_port(text) for text in body.get("ports", [])),
        needs=conditions,
        volumes=tuple(_volume(text) for text in body.get("volumes", [])),
        tmpfs=dict((*text.split(":", 1), "")[:2] for text in body.get("tmpfs", [])),
        configs={
            # Compose's own default for what stands in its file: root's group reads it, nobody else.
            config["target"]: Config(configs[config["source"]], config.get("mode", 0o440))
            for config in body.get("configs", [])
        },
        shm_size=body.get("shm_size", "64mb").removesuffix("b"),
        stop_seconds=seconds(body.get("stop_grace_period", "10s")),
        health=_health(body["healthcheck"]) if "healthcheck" in body else None,
        replicas=int(body.get("deploy", {}).get("replicas", 1)),
        profiles=tuple(body.get("profiles", ())),
    )


def _words(value: Any) -> tuple[str, ...] | None:
    if isinstance(value, str):
        raise ComposeError(f"write it as a list of words: {value}")
    return None if value is None else tuple(map(str, value))


def _port(text: str) -> Port:
    address, published, target = text.split(":")
    return Port(address, int(published), int(target))


def _volume(text: str) -> Volume:
    source, target, *options = text.split(":")
    return Volume(source, target, options == ["ro"])


def _health(body: Mapping[str, Any]) -> Health:
    kind, *test = body["test"]
    if kind != "CMD":
        raise ComposeError(f"healthcheck {kind}")
    start = seconds(body.get("start_period", "0s"))
    patience = start + body["retries"] * seconds(body["interval"])
    return Health(tuple(test), seconds(body["timeout"]), patience)
