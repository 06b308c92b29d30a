"""The deployment of docker-compose.yml, brought up once for all tests of this package.

Skipped where the machine cannot do it, but where CI_CLUSTER is 1: there it fails. Where it is 0,
skipped.
"""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster import compose
from tests.cluster.containers import LAB_ADDRESS, Cluster, alone, why_not

MLFLOW = f"http://{LAB_ADDRESS}:5000"
DASHBOARD = f"http://{LAB_ADDRESS}:8265"
MLFLOW_TLS = f"https://{LAB_ADDRESS}"
DASHBOARD_TLS = f"https://{LAB_ADDRESS}:8266"


@dataclass(frozen=True)
class Lab:
    """The cluster, and what its .env says."""

    cluster: Cluster
    variables: Mapping[str, str]
    certificate: Path

    @property
    def login(self) -> tuple[str, str]:
        """User and password of MLflow, as the README has them."""
        return "sweep", self.variables["MLFLOW_SWEEP_PASSWORD"]

    @property
    def token(self) -> str:
        """Of Ray."""
        return self.variables["RAY_AUTH_TOKEN"]

    @property
    def secrets(self) -> list[str]:
        """All that nobody else may see."""
        return [self.variables[name] for name in SECRETS]


PROFILES = {"cpu", "tls"}
SECRETS = (
    "POSTGRES_PASSWORD",
    "S3_ACCESS_KEY",
    "S3_SECRET_KEY",
    "MLFLOW_ADMIN_PASSWORD",
    "MLFLOW_SWEEP_PASSWORD",
    "MLFLOW_SECRET_KEY",
    "RAY_AUTH_TOKEN",
)


@pytest.fixture(scope="package")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    wanted = os.environ.get("CI_CLUSTER", "")
    reason = "CI_CLUSTER is 0" if wanted == "0" else why_not()
    if reason:
        pytest.fail(reason) if wanted == "1" else pytest.skip(reason)
    folder = tmp_path_factory.mktemp("cluster")
    certificate = _certify(folder / "tls")
    variables = {
        **{name: secrets.token_hex(16) for name in SECRETS},
        "BIND_ADDRESS": LAB_ADDRESS,
        "TLS_BIND_ADDRESS": LAB_ADDRESS,
        "TLS_FOLDER": str(certificate.parent),
        "PUBLIC_HOST": LAB_ADDRESS,
        # Small, for a machine of 2 cores that has other things to do.
        "CPU_WORKERS": "2",
        "WORKER_CPUS": "1",
        "MLFLOW_WORKERS": "1",
        "OBJECT_STORE_BYTES": "100000000",
        "SHM_SIZE": "256mb",
    }
    with alone():
        cluster = Cluster(compose.read(variables), PROFILES, folder)
        try:
            cluster.up()
            yield Lab(cluster, variables, certificate)
        finally:
            cluster.down()


def _certify(folder: Path) -> Path:
    """Make a certificate as a lab would get one, and return its path."""
    folder.mkdir()
    key, certificate = folder / "privkey.pem", folder / "fullchain.pem"
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    name = ["-subj", "/CN=sweep", "-addext", f"subjectAltName=IP:{LAB_ADDRESS}"]
    subprocess.run(
        ["openssl", "req", "-x509", *kind, *name, "-keyout", str(key), "-out", str(certificate)],
        check=True,
        capture_output=True,
    )
    for path in (folder, key, certificate):
        path.chmod(0o755)  # the proxy is another user; folders of pytest are root's alone
    return certificate
