"""Images built from programs of this machine and of Debian, in place of those that a registry has.
From the shell it prints the name of one:

    python -m harness.containers.images envoy

An image holds a program with the libraries that it is linked with, and the few tools that
compose.yaml uses in the public image. Its tag is the digest of its content.
"""

import hashlib
import io
import json
import os
import pathlib
import re
import subprocess
import sys
import sysconfig
import tarfile
import tempfile

from harness import debian, envoy_binary
from harness.containers import runtime

PREFIX = "localhost/envoy-llm-cache"
CERTIFICATES = pathlib.Path("/etc/ssl/certs/ca-certificates.crt")
SKIPPED = ("__pycache__", "site-packages", "dist-packages", "test", "tests", "idlelib", "tkinter",
           "ensurepip", "lib2to3")


class Content:
    """The files of an image, written in order, all of them root's."""

    def __init__(self, archive: tarfile.TarFile) -> None:
        self.archive = archive
        self.names: set[str] = set()
        self.text("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")
        self.text("/etc/group", "root:x:0:\n")
        self.folder("/tmp", 0o1777)

    def add(self, name: str, entry: tarfile.TarInfo, data: io.BufferedIOBase | None = None) -> None:
        name = name.lstrip("/")
        if name in self.names:
            return
        self.names.add(name)
        entry.name, entry.mtime = name, 0
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        self.archive.addfile(entry, data)

    def folder(self, name: str, mode: int = 0o755) -> None:
        entry = tarfile.TarInfo()
        entry.type, entry.mode = tarfile.DIRTYPE, mode
        self.add(name, entry)

    def text(self, name: str, content: str) -> None:
        entry, data = tarfile.TarInfo(), content.encode()
        entry.mode, entry.size = 0o644, len(data)
        self.add(name, entry, io.BytesIO(data))

    def link(self, name: str, target: str) -> None:
        entry = tarfile.TarInfo()
        entry.type, entry.linkname = tarfile.SYMTYPE, target
        self.add(name, entry)

    def file(self, name: str, path: pathlib.Path) -> None:
        entry, status = tarfile.TarInfo(), path.stat()
        entry.mode, entry.size = status.st_mode & 0o755, status.st_size
        with path.open("rb") as data:
            self.add(name, entry, data)

    def program(self, name: str, path: pathlib.Path) -> None:
        """With the libraries it is linked with, all in /lib."""
        self.file(name, path)
        ran = subprocess.run(["ldd", path], capture_output=True, text=True, check=False,
                             env=debian.environment(path))
        for library in re.findall(r"(/\S+) \(0x", ran.stdout):
            # The loader is named with its path in each program.
            at = library if "/ld-" in library else f"/lib/{pathlib.Path(library).name}"
            self.file(at, pathlib.Path(library))

    def tools(self, *names: str) -> None:
        """Of busybox."""
        self.program("/bin/busybox", debian.find("busybox"))
        for name in names:
            self.link(f"/bin/{name}", "busybox")


def envoy(content: Content) -> list[str]:
    content.program("/usr/local/bin/envoy", envoy_binary.find())
    content.program("/bin/bash", pathlib.Path("/bin/bash"))
    content.tools("sh", "sed")
    if CERTIFICATES.exists():
        content.file(str(CERTIFICATES), CERTIFICATES)
    return []


def redis(content: Content) -> list[str]:
    for name in ("redis-server", "redis-cli"):
        content.program(f"/usr/local/bin/{name}", debian.find(name))
    return []


def webdis(content: Content) -> list[str]:
    content.program("/usr/local/bin/webdis", debian.find("webdis"))
    content.tools("wget")
    return []


def prometheus(content: Content) -> list[str]:
    content.program("/bin/prometheus", debian.find("prometheus"))
    content.tools("wget")
    content.folder("/prometheus")
    return ['ENTRYPOINT ["/bin/prometheus"]']


def python(content: Content) -> list[str]:
    """The Python that runs this, with its standard library."""
    program = pathlib.Path(sys._base_executable).resolve()
    content.program(str(program), program)
    content.link("/usr/local/bin/python", str(program))
    for library in {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}:
        for folder, folders, files in os.walk(library):
            folders[:] = sorted(name for name in folders if name not in SKIPPED)
            for name in sorted(files):
                path = pathlib.Path(folder, name)
                add = content.program if path.suffix == ".so" else content.file
                add(str(path), path)
    return []


def pause(content: Content) -> list[str]:
    """Does nothing until it is stopped, as registry.k8s.io/pause does."""
    content.program("/bin/catatonit", debian.find("catatonit"))
    return ['ENTRYPOINT ["/bin/catatonit", "-P"]']


IMAGES = {build.__name__: build for build in (envoy, redis, webdis, prometheus, python, pause)}


def built(name: str, on: runtime.Runtime) -> str:
    """The name of the image with its tag; it is built unless it is there."""
    with tempfile.TemporaryDirectory(prefix="envoy-llm-cache-image-") as folder:
        path = pathlib.Path(folder, "content.tar")
        with tarfile.open(path, "w") as archive:
            changes = IMAGES[name](Content(archive))
        changes = [*changes, "ENV PATH=/usr/local/bin:/usr/bin:/bin", "ENV LD_LIBRARY_PATH=/lib"]
        with path.open("rb") as data:
            digest = hashlib.file_digest(data, "sha256")
        digest.update(json.dumps(changes).encode())
        image = f"{PREFIX}/{name}:{digest.hexdigest()[:16]}"
        if on.attempt("image", "inspect", image).returncode != 0:
            options = [word for change in changes for word in ("--change", change)]
            on.run("import", *options, path, image)
    return image


if __name__ == "__main__":
    try:
        print(*(built(name, runtime.find()) for name in sys.argv[1:]), sep="\n")
    except (runtime.NoRuntime, envoy_binary.NoEnvoy, debian.NoProgram) as error:
        sys.exit(str(error))
