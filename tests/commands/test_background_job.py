"""The command as a background job of a script, which is made to ignore SIGINT."""

import signal
import subprocess
import sys

BACKGROUND = """
import signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
from cdap_assets.commands.instance import heed_interrupts
heed_interrupts()
from dagster._utils.interrupts import setup_interrupt_handlers
setup_interrupt_handlers()
import subprocess, sys
reader = subprocess.Popen(["tail", "-F", "/dev/null"])
reader.terminate()
print(reader.wait(timeout=20))
"""


def test_what_dagster_starts_in_a_background_job_can_be_ended() -> None:
    done = subprocess.run([sys.executable, "-c", BACKGROUND], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip() == str(-signal.SIGTERM), done.stderr
