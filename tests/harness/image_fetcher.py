"""Fetches a module from a registry by the rules of Istio and Envoy Gateway.

Both have the same code: istio/istio pkg/wasm/{cache,imagefetcher}.go, from which that of
envoyproxy/gateway internal/wasm/ was taken. They read registries with go-containerregistry
(pkg/v1/remote/descriptor.go). The sources were read as of August 2026.
"""

import gzip
import hashlib
import http.client
import io
import json
import posixpath
import tarfile

GUARD_SECONDS = 60
# Of what a layer unpacks to. Istio: the default of ISTIO_WASM_MAX_BINARY_SIZE_BYTES.
MAX_UNPACKED_BYTES = 256 * 1024 * 1024
FILE_NAME = "plugin.wasm"
WASM_MAGIC = b"\0asm"

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
WASM_LAYER = "application/vnd.module.wasm.content.layer.v1+wasm"
PLATFORM = {"architecture": "amd64", "os": "linux"}


class Refused(Exception):
    """The fetchers would not take it, and this is why."""


def fetch(image: str, sha256: str = "") -> bytes:
    """The module in `image`, which is HOST:PORT/REPOSITORY:TAG or HOST:PORT/REPOSITORY@sha256:HEX.

    `sha256` is what WasmPlugin and EnvoyExtensionPolicy call so.
    """
    host, _, rest = image.partition("/")
    repository, _, pinned = rest.partition("@sha256:")
    repository, _, tag = repository.partition(":")
    repository = Repository(host, repository)
    media_type, manifest = repository.manifest(f"sha256:{pinned}" if pinned else tag)
    if media_type in (OCI_INDEX, DOCKER_INDEX):
        chosen = next((entry for entry in json.loads(manifest)["manifests"]
                       if entry.get("platform") == PLATFORM), None)
        if not chosen:
            raise Refused("no child with platform linux/amd64 in index")
        _, manifest = repository.manifest(chosen["digest"])
    digest = hashlib.sha256(manifest).hexdigest()
    wanted = sha256 or pinned
    if wanted and wanted != digest:
        raise Refused(f"checksum {digest}, which does not match: {wanted}")
    module = extract(repository, json.loads(manifest))
    if len(module) < 8 or not module.startswith(WASM_MAGIC):
        raise Refused("fetched Wasm binary is invalid")
    return module


def extract(repository: "Repository", manifest: dict) -> bytes:
    layers = manifest["layers"]
    if manifest.get("mediaType") == DOCKER_MANIFEST:
        return from_last_layer(repository, layers, DOCKER_LAYER)
    try:
        return from_last_layer(repository, layers, OCI_LAYER)
    except Refused as refused:
        try:
            return from_wasm_layer(repository, layers)
        except Refused as too:
            raise Refused(f"{refused}; {too}") from too


def from_last_layer(repository: "Repository", layers: list[dict], media_type: str) -> bytes:
    if not layers:
        raise Refused("number of layers must be greater than zero")
    if layers[-1]["mediaType"] != media_type:
        raise Refused(f"invalid media type {layers[-1]['mediaType']} (expect {media_type})")
    layer = io.BytesIO(repository.blob(layers[-1]))
    try:
        with gzip.open(layer) as unzipped, \
                tarfile.open(fileobj=Limited(unzipped), mode="r|") as entries:
            for entry in entries:
                if posixpath.basename(entry.name) == FILE_NAME:
                    return entries.extractfile(entry).read()
    except (tarfile.TarError, OSError, EOFError) as error:
        raise Refused(f"could not extract wasm binary: {error}") from error
    raise Refused(f"{FILE_NAME} not found in the archive")


def from_wasm_layer(repository: "Repository", layers: list[dict]) -> bytes:
    if len(layers) != 2:
        raise Refused(f"number of layers must be 2 but got {len(layers)}")
    for layer in layers:
        if layer["mediaType"] == WASM_LAYER:
            return repository.blob(layer)
    raise Refused(f"could not find the layer of type {WASM_LAYER}")


class Limited:
    """A file that ends early (Go's io.LimitReader)."""

    def __init__(self, file: gzip.GzipFile) -> None:
        self.file = file
        self.left = MAX_UNPACKED_BYTES

    def read(self, size: int) -> bytes:
        piece = self.file.read(min(size, self.left))
        self.left -= len(piece)
        return piece


class Repository:
    def __init__(self, host: str, name: str) -> None:
        self.host = host
        self.name = name

    def manifest(self, reference: str) -> tuple[str, bytes]:
        """Its media type and its bytes."""
        answer, body = self.get(f"manifests/{reference}", ", ".join(
            (DOCKER_MANIFEST, OCI_MANIFEST, DOCKER_INDEX, OCI_INDEX)))
        if reference.startswith("sha256:"):
            self.verify(body, reference)
        return answer.getheader("content-type"), body

    def blob(self, descriptor: dict) -> bytes:
        _, body = self.get(f"blobs/{descriptor['digest']}")
        if len(body) != descriptor["size"]:
            raise Refused(f"error verifying size: {len(body)}")
        self.verify(body, descriptor["digest"])
        return body

    @staticmethod
    def verify(body: bytes, digest: str) -> None:
        if (found := f"sha256:{hashlib.sha256(body).hexdigest()}") != digest:
            raise Refused(f"digest {found} does not match requested digest {digest}")

    def get(self, path: str, accept: str = "*/*") -> tuple[http.client.HTTPResponse, bytes]:
        connection = http.client.HTTPConnection(self.host, timeout=GUARD_SECONDS)
        try:
            connection.request("GET", f"/v2/{self.name}/{path}", headers={"accept": accept})
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            raise Refused(f"could not fetch {path}: {answer.status}")
        return answer, body
