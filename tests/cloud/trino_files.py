"""The Trino that tests run: fetched from Maven Central, trimmed, and kept in a folder outside the checkout."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from filelock import FileLock

VERSION = "476"  # the last one that Maven Central holds as archives
OLDEST_JAVA = 24  # that this Trino starts on
FETCHING = 900  # seconds
SAFELY: Any = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # Python 3.11.4 and newer
ARTIFACTS = {
    "server": f"io.trino:trino-server-core:{VERSION}:tar.gz",
    "iceberg": f"io.trino:trino-iceberg:{VERSION}:zip",
}
# Other clouds, other catalogs and other machines: half of what the plugin weighs. Nessie and Coral must stay.
UNUSED = re.compile(
    r"snowflake-jdbc|rocksdbjni|alluxio|com\.azure|conscrypt|io\.grpc|google-cloud|com\.google\.(cloud|api\.grpc|apis)"
    r"|netty.*(osx|windows)|codec-native-quic"
)


class TrinoMissing(RuntimeError):
    """This machine cannot fetch or run a Trino."""


def java() -> Path:
    """A Java that is new enough. Raises :class:`TrinoMissing` that says which are there."""
    homes = [Path(os.environ["JAVA_HOME"])] if "JAVA_HOME" in os.environ else []
    candidates = [*homes, *sorted(Path("/usr/lib/jvm").glob("*"))]
    programs = [home / "bin" / "java" for home in candidates if (home / "bin" / "java").is_file()]
    if on_path := shutil.which("java"):
        programs.append(Path(on_path))
    found = {program: _java_version(program) for program in programs}
    enough = [program for program, version in found.items() if version >= OLDEST_JAVA]
    if not enough:
        there = ", ".join(f"{program} ({version})" for program, version in found.items()) or "none at all"
        raise TrinoMissing(f"Trino {VERSION} needs Java {OLDEST_JAVA} or newer; found {there}. Set JAVA_HOME to one.")
    return enough[0]


def _java_version(program: Path) -> int:
    told = subprocess.run([program, "-version"], capture_output=True, text=True, timeout=30, check=False).stderr
    version = re.search(r'version "(\d+)', told)
    return int(version[1]) if version else 0


def cache() -> Path:
    """Where fetched programs are kept: ``CDAP_TEST_CACHE``, or the user's own cache."""
    return _made(Path(os.environ.get("CDAP_TEST_CACHE") or Path.home() / ".cache" / "cdap"))


def trino_home() -> Path:
    """The folder of the unpacked server, fetched if it is absent. Raises :class:`TrinoMissing` without Maven."""
    home = cache() / f"trino-{VERSION}"
    with FileLock(f"{home}.lock"):
        if not home.exists():
            with tempfile.TemporaryDirectory(dir=cache(), prefix="fetching-") as folder:
                _fetch(Path(folder)).rename(home)
    return home


def _fetch(folder: Path) -> Path:
    if not shutil.which("mvn"):
        raise TrinoMissing(f"Trino {VERSION} is fetched by Maven, and there is no mvn; install Debian's package maven")
    archives = {name: _copy(artifact, folder) for name, artifact in ARTIFACTS.items()}
    home = folder / "home"
    with tarfile.open(archives["server"]) as server:
        lib = [member for member in server if "/lib/" in member.name]
        server.extractall(folder, lib, **SAFELY)
    (folder / f"trino-server-core-{VERSION}" / "lib").rename(_made(home) / "lib")
    with zipfile.ZipFile(archives["iceberg"]) as plugin:
        plugin.extractall(folder, [name for name in plugin.namelist() if not UNUSED.search(name)])
    (folder / f"trino-iceberg-{VERSION}").rename(_made(home / "plugin") / "iceberg")
    return home


def _copy(artifact: str, folder: Path) -> Path:
    fetch = ["mvn", "-q", "-B", "dependency:copy", f"-Dartifact={artifact}", f"-DoutputDirectory={folder}"]
    fetched = subprocess.run(fetch, capture_output=True, text=True, timeout=FETCHING, check=False, cwd=folder)
    if fetched.returncode:
        raise TrinoMissing(f"Maven did not fetch {artifact}:\n{(fetched.stdout + fetched.stderr)[-2000:]}")
    _group, name, version, kind = artifact.split(":")
    return folder / f"{name}-{version}.{kind}"


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
