"""`python -m tests.cloud COMMAND ...`: run a command in the AWS account that the tests play on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.cloud.account import Aws, aws_account
from tests.cloud.processes import ended_by_sigterm, free_port
from tests.cloud.trino import ATHENA_CATALOG, Trino, glue_catalog


def main() -> None:
    """Start the account, run the command with the variables that lead to it, and end with its exit code."""
    command = sys.argv[1:]
    if not command:
        sys.exit("which command? python -m tests.cloud COMMAND ...")
    port = free_port()
    with (
        TemporaryDirectory(prefix="cdap-account-") as folder,
        ended_by_sigterm(),
        Trino({ATHENA_CATALOG: glue_catalog(f"http://127.0.0.1:{port}", Aws.region)}) as trino,
        aws_account(port, trino.uri, Path(folder)) as account,
    ):
        trino.await_ready()
        done = subprocess.run(command, env=os.environ | account.environment, check=False)
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
