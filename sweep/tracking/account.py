"""MLflow's account for the sweeps: a plain user, so that no job holds the administrator's password.

``python -m sweep.tracking.account``, as the administrator that $MLFLOW_TRACKING_USERNAME and
$MLFLOW_TRACKING_PASSWORD name; it makes the user ``sweep`` with $MLFLOW_SWEEP_PASSWORD. Run again,
it sets the password, so that a new one counts once every part was started with it.
"""

from __future__ import annotations

import os

from mlflow.exceptions import MlflowException
from mlflow.server import get_app_client

USER = "sweep"


def ensure_account(uri: str, password: str) -> None:
    """Make the user of the sweeps, or give the one that is there this password.

    Args:
        uri: of an MLflow server that asks for a login; the administrator's is in the environment.
        password: of the user.

    Raises:
        MlflowException: the server is away, or refuses.
    """
    client = get_app_client("basic-auth", uri)
    try:
        client.create_user(USER, password)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        client.update_user_password(USER, password)


if __name__ == "__main__":
    ensure_account(os.environ["MLFLOW_TRACKING_URI"], os.environ["MLFLOW_SWEEP_PASSWORD"])
    print(f"MLflow has the user {USER}")
