"""Finds a container runtime. From the shell it prints its path:

    python -m harness.containers.runtime

The order: $CONTAINER_RUNTIME (docker or podman), docker if its engine answers, podman, else
Debian's podman with runc and settings of its own, unpacked under target/ instead of installed. That
one needs root.
"""

import dataclasses
import os
import pathlib
import re
import resource
import shutil
import subprocess
import sys

from harness import debian
from harness.envoy_binary import ROOT

CAP_SYS_RESOURCE = 24
KINDS = ("docker", "podman")
# Debian's podman, its settings, images and containers.
FOLDER = ROOT / "target" / "containers"
HOME = FOLDER / "home"
ADVICE = ("install Docker or podman (Debian, Ubuntu: apt-get install podman), and have its engine "
          "run; CONTAINER_RUNTIME=docker or =podman chooses one")


class NoRuntime(Exception):
    """There is none that works; the message says what to do."""


@dataclasses.dataclass(frozen=True)
class Runtime:
    kind: str
    program: pathlib.Path

    def run(self, *words: str | os.PathLike) -> str:
        """What a command prints; what it complains about goes into the exception."""
        ran = self.attempt(*words)
        if ran.returncode != 0:
            raise NoRuntime(f"{self.program} {' '.join(map(str, words))}: {ran.stderr.strip()}")
        return ran.stdout

    def attempt(self, *words: str | os.PathLike) -> subprocess.CompletedProcess:
        return subprocess.run([self.program, *words], capture_output=True, text=True, check=False,
                              stdin=subprocess.DEVNULL)

    def user(self) -> str:
        """The user in a container whose files belong, outside of it, to the one who runs this."""
        rootless = self.kind == "podman" or "rootless" in self.run(
            "info", "--format", "{{.SecurityOptions}}")
        return "0:0" if rootless else f"{os.getuid()}:{os.getgid()}"


def find() -> Runtime:
    wanted = os.environ.get("CONTAINER_RUNTIME")
    if wanted and wanted not in KINDS:
        raise NoRuntime(f"CONTAINER_RUNTIME={wanted}: it has to be docker or podman")
    problems = []
    for kind in [wanted] if wanted else KINDS:
        if not (path := shutil.which(kind)):
            problems.append(f"{kind} is not on PATH")
            continue
        if kind == "podman" and root_is_confined():
            problems.append("podman: with its default settings it needs CAP_SYS_RESOURCE")
            continue
        runtime = Runtime(kind, pathlib.Path(path))
        answer = runtime.attempt("info")
        if answer.returncode == 0:
            return runtime
        problems.append(f"{kind}: {(answer.stderr.strip().splitlines() or ['no answer'])[-1]}")
    if wanted != "docker":
        try:
            return debians_podman()
        except (NoRuntime, debian.NoProgram) as error:
            problems.append(f"Debian's podman: {error}")
    raise NoRuntime("no container runtime:\n  " + "\n  ".join(problems) + f"\n{ADVICE}")


def root_is_confined() -> bool:
    """Whether this is root without the right to raise limits, which podman does by default."""
    status = pathlib.Path("/proc/self/status")
    if os.geteuid() != 0 or not status.exists():
        return False
    effective = re.search(r"^CapEff:\s*(\w+)", status.read_text(), re.MULTILINE).group(1)
    return not int(effective, 16) >> CAP_SYS_RESOURCE & 1


def debians_podman() -> Runtime:
    if os.geteuid() != 0:
        raise NoRuntime("it needs root where it is only unpacked")
    podman, runc, catatonit = debian.find_all("podman", "runc", "catatonit")
    for folder in (FOLDER / "bin", FOLDER / "networks", HOME / ".config/containers"):
        folder.mkdir(parents=True, exist_ok=True)
    package = podman.parents[2]
    write_settings(package, runc, catatonit)
    # Debian's alternatives would make these links.
    for name in ("iptables", "ip6tables"):
        link(FOLDER / "bin" / name, place(package, "usr/sbin/xtables-nft-multi"))
    # podman gives conmon few variables, and conmon runs podman when a container ends.
    write_script(FOLDER / "bin" / "conmon", package, place(package, "usr/bin/conmon"))
    write_script(FOLDER / "podman", package, podman)
    runtime = Runtime("podman", FOLDER / "podman")
    runtime.run("info")
    return runtime


def write_settings(package: pathlib.Path, runc: pathlib.Path, catatonit: pathlib.Path) -> None:
    # The only place beside /etc where podman looks for it.
    link(HOME / ".config/containers/policy.json", place(package, "etc/containers/policy.json"))
    replace(FOLDER / "registries.conf", "unqualified-search-registries = []\n")
    replace(FOLDER / "storage.conf", f"""\
[storage]
driver = "overlay"
graphroot = "{FOLDER}/storage"
runroot = "{FOLDER}/run"
""")
    replace(FOLDER / "containers.conf", f"""\
[containers]
# podman's own defaults exceed what root may set without CAP_SYS_RESOURCE.
default_ulimits = ["nofile={limit(resource.RLIMIT_NOFILE)}", "nproc={limit(resource.RLIMIT_NPROC)}"]
seccomp_profile = "{place(package, "usr/share/containers/seccomp.json")}"
init_path = "{catatonit}"

[network]
network_backend = "cni"
cni_plugin_dirs = ["{place(package, "usr/lib/cni")}"]
network_config_dir = "{FOLDER}/networks"

[engine]
# crun refuses a machine that has cgroups of both versions.
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
tmp_dir = "{FOLDER}/run/libpod"
static_dir = "{FOLDER}/storage/libpod"
volume_path = "{FOLDER}/storage/volumes"
conmon_path = ["{FOLDER}/bin/conmon"]
helper_binaries_dir = ["{place(package, "usr/lib/podman")}"]

[engine.runtimes]
runc = ["{runc}"]
""")


def place(package: pathlib.Path, path: str) -> pathlib.Path:
    """Where a file of podman's package or of one that it needs is: those that the system has were
    not unpacked with it."""
    unpacked = package / path
    return unpacked if unpacked.exists() else pathlib.Path("/", path)


def write_script(script: pathlib.Path, package: pathlib.Path, program: pathlib.Path) -> None:
    """Runs a program of Debian's podman with its helpers and settings."""
    libraries = debian.environment(program).get("LD_LIBRARY_PATH", "")
    replace(script, f"""\
#!/bin/sh
export HOME='{HOME}'
export PATH='{FOLDER}/bin:{package}/usr/bin:{package}/usr/sbin':"$PATH"
export LD_LIBRARY_PATH='{libraries}'
export XTABLES_LIBDIR='{place(package, "usr/lib/x86_64-linux-gnu/xtables")}'
export CONTAINERS_CONF='{FOLDER}/containers.conf'
export CONTAINERS_STORAGE_CONF='{FOLDER}/storage.conf'
export CONTAINERS_REGISTRIES_CONF='{FOLDER}/registries.conf'
exec '{program}' "$@"
""")


def replace(path: pathlib.Path, text: str) -> None:
    """Written only when it changes, and in one move: containers that run use these files."""
    if not path.exists() or path.read_text() != text:
        draft = path.with_name(f".{path.name}-{os.getpid()}")
        draft.write_text(text)
        draft.chmod(0o755 if text.startswith("#!") else 0o644)
        draft.rename(path)


def limit(kind: int) -> str:
    """Our own, but no more than runc may set: 'soft:hard'."""
    most = 4096 if kind == resource.RLIMIT_NPROC else 1 << 20
    soft, hard = (most if value == resource.RLIM_INFINITY else min(value, most)
                  for value in resource.getrlimit(kind))
    return f"{soft}:{hard}"


def link(path: pathlib.Path, target: pathlib.Path) -> None:
    if not path.is_symlink() or path.readlink() != target:
        path.unlink(missing_ok=True)
        path.symlink_to(target)


if __name__ == "__main__":
    try:
        print(find().program)
    except NoRuntime as error:
        sys.exit(str(error))
