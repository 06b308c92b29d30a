"""Runs the services of the Compose file without Docker: their own commands, in Linux namespaces.

Each container has a network namespace on a bridge for each of its networks, and mount, UTS, IPC and
PID namespaces; see container.sh. Host names lead where Compose's DNS would, by a container's
/etc/hosts and, for nginx, which looks there but once, by dns.py; a published port is a port of the
host. All addresses are of this module alone, and no packet leaves the machine.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from tests.cluster.compose import ROOT, Deployment, Service
from tests.cluster.images import OURS, SYSTEM_PATH, ids, image

PREFIX = "sweep-test-"
"""Of the names of network namespaces."""
BRIDGE, CABLE = "swtb", "swtv"
"""Begin the names of devices."""
SUBNET = "10.231"
LAB = 255
"""Number of the network outside the cluster."""
LAB_ADDRESS = f"{SUBNET}.{LAB}.1"
"""Of the host, as the lab sees it."""
LAPTOP = PREFIX + "laptop"
"""Name of the network namespace of somebody in the lab."""
LOCK = Path("/run/lock/sweep-cluster-test")
DNS = Path(__file__).with_name("dns.py")
TICK = 0.3


class ContainerError(RuntimeError):
    """A container ended, or did not become well."""


@dataclass
class Container:
    """One container: a service of which there may be several."""

    name: str
    service: Service
    addresses: dict[str, str]
    """By network."""
    folder: Path
    process: subprocess.Popen[bytes] | None = None
    dns: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def netns(self) -> str:
        return PREFIX + self.name

    @property
    def address(self) -> str:
        """Of its last network, which leads to other services."""
        return list(self.addresses.values())[-1]

    @property
    def environment(self) -> dict[str, str]:
        return {**image(self.service.image).environment, **self.service.environment}

    @property
    def user(self) -> str:
        return self.service.user or image(self.service.image).user

    @property
    def words(self) -> list[str]:
        """What Docker would run: the entry point and the command."""
        own = self.service.entrypoint
        entrypoint = image(self.service.image).entrypoint if own is None else own
        init = ("tini", "--") if self.service.init else ()
        return [*init, *entrypoint, *(self.service.command or ())]

    @property
    def pid(self) -> int:
        """Of its first process, as the host sees it."""
        assert self.process is not None
        [first] = psutil.Process(self.process.pid).children()
        return int(first.pid)

    @property
    def privileges(self) -> list[str]:
        none = ["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]
        return none if self.service.no_privileges else []


class Cluster:
    """The containers of a deployment.

    Args:
        deployment: what the file says.
        profiles: those that are asked for.
        folder: for volumes and logs.
    """

    def __init__(self, deployment: Deployment, profiles: Collection[str], folder: Path) -> None:
        self.folder = folder
        self.networks = {name: number for number, name in enumerate(deployment.networks)}
        self.outward = deployment.networks
        self.services = deployment.services
        self.containers: dict[str, Container] = {}
        for service in deployment.services.values():
            if not service.profiles or set(service.profiles) & set(profiles):
                self._plan(service)
        self._relays: list[Relay] = []

    def up(self) -> None:
        """Start all, each when what it needs is well, and wait until all are well.

        Raises:
            ContainerError: one is not.
        """
        self._lay_network()
        for container in self.containers.values():
            self._connect(container)
        well: set[str] = set()
        starting: dict[str, float] = {}
        while len(well) < len(self.containers):
            for name, container in self.containers.items():
                needed = {other.name for need in container.service.needs for other in self.of(need)}
                if name not in starting and needed <= well:
                    self.start(container)
                    starting[name] = time.monotonic()
                elif (
                    name in starting and name not in well and self.check(container, starting[name])
                ):
                    well.add(name)
            time.sleep(TICK)
        for container in self.containers.values():
            for port in container.service.ports:
                listen = (port.address, port.published)
                self._relays.append(Relay(listen, container, port.target))

    def down(self) -> None:
        """End all, whatever they do, and take the network away."""
        for relay in self._relays:
            relay.close()
        for container in self.containers.values():
            self.kill(container)
            if container.dns is not None:
                container.dns.kill()
                container.dns.wait(10)
        clear()

    def of(self, service: str) -> list[Container]:
        """Return the containers of a service."""
        return [one for one in self.containers.values() if one.service.name == service]

    def one(self, service: str) -> Container:
        """Return the only container of a service."""
        [container] = self.of(service)
        return container

    def start(self, container: Container) -> None:
        """Start a container anew, with what is in its volumes."""
        self._write_settings(container)
        if image(container.service.image).asks_dns and container.dns is None:
            program = [sys.executable, str(DNS), str(container.folder / "hosts")]
            space = f"--net=/run/netns/{container.netns}"
            container.dns = subprocess.Popen(["nsenter", space, *program])
        script = Path(__file__).with_name("container.sh")
        with container.log.open("ab") as log:
            container.log.chmod(0o666)  # /dev/stdout is opened again by its name
            container.process = subprocess.Popen(
                [
                    *("nsenter", f"--net=/run/netns/{container.netns}"),
                    *("unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child"),
                    *("--propagation=private", str(script), str(container.folder)),
                    *container.words,
                ],
                env=container.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def check(self, container: Container, since: float) -> bool:
        """Tell whether a container is well, or has done its work if that is what it is for.

        Args:
            container: that runs.
            since: when it was started, by the monotonic clock.

        Raises:
            ContainerError: it has ended or failed, or had time enough.
        """
        assert container.process is not None
        health = container.service.health
        if health is None:
            if container.process.poll():
                raise ContainerError(f"{container.name} has failed\n{tail(container.log)}")
            return container.process.poll() == 0
        if container.process.poll() is not None:
            raise ContainerError(f"{container.name} has ended\n{tail(container.log)}")
        with suppress(subprocess.TimeoutExpired, psutil.Error, ValueError):
            if self.run(container, health.test, timeout=health.timeout).returncode == 0:
                return True
        if time.monotonic() - since > health.patience:
            raise ContainerError(f"{container.name} is not well\n{tail(container.log)}")
        return False

    def wait(self, container: Container) -> None:
        """Wait until a container that was started is well."""
        since = time.monotonic()
        while not self.check(container, since):
            time.sleep(TICK)

    def run_once(self, service: str, words: Sequence[str]) -> int:
        """Run a container of a service with these words alone, and return how they ended.

        As ``docker compose run --entrypoint`` does.
        """
        own = replace(self.services[service], entrypoint=(), command=tuple(words))
        container = self._plan_one(own, f"{service}-run")
        self._connect(container)
        self.start(container)
        assert container.process is not None
        return container.process.wait(60)

    def move(self, container: Container) -> None:
        """Give a container that does not run other addresses, as Docker may before it starts it."""
        for order, (network, address) in enumerate(container.addresses.items()):
            subnet, _, host = address.rpartition(".")
            container.addresses[network] = f"{subnet}.{int(host) + 100}"
            device = ["dev", f"eth{order}"]
            _ip("-n", container.netns, "address", "flush", *device)
            new = f"{container.addresses[network]}/24"
            _ip("-n", container.netns, "address", "add", new, *device)
            self._lead_outside(container, network)
        for other in self.containers.values():
            self._write_hosts(other)

    def run(
        self,
        container: Container,
        words: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        timeout: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in a container, as ``docker exec`` does.

        Args:
            container: that runs.
            words: of the command.
            environment: beside the container's; an empty value takes a variable away.
            timeout: in seconds.
        """
        uid, gid = ids(container.user)
        variables = {**container.environment, **(environment or {})}
        return subprocess.run(
            [
                *("nsenter", f"--target={container.pid}", "--mount", "--uts", "--ipc", "--net"),
                *("--pid", "setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups"),
                *container.privileges,
                *words,
            ],
            env={key: value for key, value in variables.items() if value},
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def run_outside(
        self, words: Sequence[str], environment: Mapping[str, str], *, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on the laptop of somebody in the lab, who reaches published ports alone."""
        return subprocess.run(
            ["nsenter", f"--net=/run/netns/{LAPTOP}", *words],
            env={"PATH": f"{sys.prefix}/bin:{SYSTEM_PATH}", "HOME": "/tmp", **environment},
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def stop(self, container: Container) -> int:
        """End a container as ``docker stop`` does, and return how its command ended."""
        assert container.process is not None
        os.kill(container.pid, signal.SIGTERM)
        return container.process.wait(container.service.stop_seconds)

    def kill(self, container: Container) -> None:
        """End every process of a container at once, as if its machine were gone."""
        if container.process is not None and container.running:
            with suppress(ValueError, psutil.Error):
                os.kill(container.pid, signal.SIGKILL)
            container.process.kill()
            container.process.wait(10)

    def volume(self, name: str) -> Path:
        """Return where a named volume lies on the host."""
        return self.folder / "volumes" / name

    def memory(self) -> dict[str, int]:
        """Return the bytes of each container: its processes', shared ones in equal parts."""
        return {
            one.name: sum(
                process.memory_full_info().pss
                for process in psutil.Process(one.pid).children(recursive=True)
            )
            for one in self.containers.values()
            if one.running
        }

    def _plan(self, service: Service) -> None:
        for number in range(1, service.replicas + 1):
            self._plan_one(service, f"{service.name}-{number}")

    def _plan_one(self, service: Service, name: str) -> Container:
        host = len(self.containers) + 2
        addresses = {
            network: f"{SUBNET}.{self.networks[network]}.{host}" for network in service.networks
        }
        folder = self.folder / name
        (folder / "layer").mkdir(parents=True)
        container = Container(name, service, addresses, folder)
        self.containers[name] = container
        return container

    def _connect(self, container: Container) -> None:
        _ip("netns", "add", container.netns)
        for order, (network, address) in enumerate(container.addresses.items()):
            _plug(container.netns, f"eth{order}", self.networks[network], address)
            self._lead_outside(container, network)

    def _lead_outside(self, container: Container, network: str) -> None:
        if self.outward[network]:
            gateway = f"{SUBNET}.{self.networks[network]}.1"
            _ip("-n", container.netns, "route", "replace", "default", "via", gateway)

    def _lay_network(self) -> None:
        for number in [*self.networks.values(), LAB]:
            bridge = f"{BRIDGE}{number}"
            _ip("link", "add", bridge, "type", "bridge")
            _ip("address", "add", f"{SUBNET}.{number}.1/24", "dev", bridge)
            _ip("link", "set", bridge, "up")
            forwarding = Path(f"/proc/sys/net/ipv4/conf/{bridge}/forwarding")
            if forwarding.read_text().strip() != "0":  # no packet goes on, neither out nor between
                forwarding.write_text("0")
        _ip("netns", "add", LAPTOP)
        _plug(LAPTOP, "eth0", LAB, f"{SUBNET}.{LAB}.2")

    def _write_settings(self, container: Container) -> None:
        service, folder = container.service, container.folder
        uid, gid = ids(container.user)
        home = f"/home/{OURS}" if container.user == OURS else "/"
        words = {
            "host": container.name,
            "shm_size": service.shm_size,
            "read_only": "yes" if service.read_only else "no",
            "uid": str(uid),
            "gid": str(gid),
            "home": home,
        }
        lists = {
            "trees": [str(ROOT), sys.prefix, sys.base_prefix],
            "fresh": ["/tmp", "/run"],
            "binds": [*self._binds(container)],
            "tmpfs": [f"{path}|{options}" for path, options in service.tmpfs.items()],
            "privileges": container.privileges,
        }
        text = [f"{key}={shlex.quote(value)}" for key, value in words.items()]
        text += [f"{key}=({shlex.join(values)})" for key, values in lists.items()]
        (folder / "settings").write_text("\n".join(text) + "\n")
        self._write_hosts(container)
        (folder / "passwd").write_text("\n".join(_accounts(home, uid, gid)) + "\n")

    def _binds(self, container: Container) -> Iterator[str]:
        owners = image(container.service.image).folders
        for volume in container.service.volumes:
            source = self.volume(volume.source) if volume.named else ROOT / volume.source
            if volume.named and not source.exists():
                source.mkdir(parents=True)
                os.chown(source, *ids(owners[volume.target]))
            yield f"{source}|{volume.target}|{'ro' if volume.read_only else 'rw'}"
        for number, (target, config) in enumerate(container.service.configs.items()):
            source = container.folder / f"config-{number}"
            source.write_text(config.text)
            source.chmod(config.mode)
            yield f"{source}|{target}|ro"

    def _write_hosts(self, container: Container) -> None:
        """Write the file in place: a container that runs has it mounted."""
        (container.folder / "hosts").write_text("\n".join(self._hosts(container)) + "\n")

    def _hosts(self, container: Container) -> Iterator[str]:
        yield "127.0.0.1 localhost"
        for other in self.containers.values():
            for network in set(other.addresses) & set(container.addresses):
                yield f"{other.addresses[network]} {other.service.name} {other.name}"


class Relay:
    """A published port: passes connections to a port of the host on to a container.

    Args:
        listen: address and port on the host.
        container: that is reached; it may come and go, and change its address.
        port: of the container.
    """

    def __init__(self, listen: tuple[str, int], container: Container, port: int) -> None:
        self.container, self.port = container, port
        self._server = socket.create_server(listen)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _accept(self) -> None:
        with suppress(OSError):  # it was closed
            while True:
                client, _ = self._server.accept()
                threading.Thread(target=self._pass, args=(client,), daemon=True).start()

    def _pass(self, client: socket.socket) -> None:
        with client:
            try:
                target = (self.container.address, self.port)
                server = socket.create_connection(target, timeout=5)
            except OSError:
                return
            server.settimeout(None)
            with server:
                back = threading.Thread(target=_pump, args=(server, client), daemon=True)
                back.start()
                _pump(client, server)
                back.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


@contextmanager
def alone() -> Iterator[None]:
    """Let one cluster at a time be on this machine, and clear away what a killed one left."""
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        clear()
        yield


def clear() -> None:
    """End and remove all that has a name of this module's."""
    spaces = [line.split()[0] for line in _ip("netns", "list").splitlines() if line]
    for space in spaces:
        if space.startswith(PREFIX):
            for pid in _ip("netns", "pids", space).split():
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            _ip("netns", "delete", space)
    for device in [path.name for path in Path("/sys/class/net").iterdir()]:
        if device.startswith((BRIDGE, CABLE)):
            with suppress(
                subprocess.CalledProcessError
            ):  # one end of a cable takes the other along
                _ip("link", "delete", device)


def why_not() -> str:
    """Return why no cluster can be run on this machine; nothing if one can."""
    if os.geteuid() != 0:
        return "only root may make namespaces"
    programs = ("ip", "nsenter", "unshare", "setpriv", "tini", "wget", "curl")
    missing = [name for name in programs if shutil.which(name) is None]
    for tag in ("postgres", "chrislusf/seaweedfs", "nginx"):
        missing += [str(path) for path in image(tag).needs if not path.exists()]
    if missing:
        return f"{', '.join(missing)}: not here; .ci/run says what to install"
    probe = "mount -t tmpfs tmpfs /mnt && mkdir /mnt/u /mnt/w /mnt/r && " + (
        "mount -t overlay -o lowerdir=/,upperdir=/mnt/u,workdir=/mnt/w overlay /mnt/r"
    )
    made = subprocess.run(
        ["unshare", "--mount", "--net", "--pid", "--fork", "sh", "-c", probe],
        capture_output=True,
        text=True,
    )
    return made.stderr.strip().replace("\n", "; ")


def tail(log: Path, lines: int = 40) -> str:
    """Return the end of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def _accounts(home: str, uid: int, gid: int) -> Iterable[str]:
    others = [line for line in pwd.getpwall() if line.pw_uid != uid or home == "/"]
    if home != "/":
        yield f"{OURS}:x:{uid}:{gid}::{home}:/bin/sh"
    for entry in others:
        yield f"{entry.pw_name}:x:{entry.pw_uid}:{entry.pw_gid}::{entry.pw_dir}:{entry.pw_shell}"


def _plug(netns: str, device: str, network: int, address: str) -> None:
    """Connect a network namespace to a bridge."""
    cable = f"{CABLE}{network}n{address.rpartition('.')[2]}"
    _ip("link", "add", cable, "type", "veth", "peer", "name", device, "netns", netns)
    _ip("link", "set", cable, "master", f"{BRIDGE}{network}", "up")
    _ip("-n", netns, "address", "add", f"{address}/24", "dev", device)
    _ip("-n", netns, "link", "set", device, "up")
    _ip("-n", netns, "link", "set", "lo", "up")


def _ip(*words: str) -> str:
    done = subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
    return done.stdout
