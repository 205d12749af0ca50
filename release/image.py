"""Builds the OCI image that Istio and Envoy Gateway fetch, without docker.

    python3 -m release.image --source https://github.com/OWNER/REPOSITORY

It writes an image layout to target/image/, and the same as a tarball beside it. The digest depends
on the module, Cargo.toml's version, description and licence, the commit and `--source`.

The image has one layer, a tar+gzip with the file plugin.wasm, because older versions of Istio take
no second one. It is a single manifest and not an index of platforms: of an index, the fetchers
compare `sha256` with the manifest of the platform they chose, so that the digest of the index
cannot be pinned.
"""

import argparse
import dataclasses
import hashlib
import json
import pathlib
import shutil
import sys

from release import archive, project

FILE_NAME = "plugin.wasm"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
# Wasm runs on any platform. This is what `FROM scratch` has on most machines, and what registries
# and container runtimes accept.
PLATFORM = {"architecture": "amd64", "os": "linux"}
FOLDER = project.ROOT / "target" / "image"


@dataclasses.dataclass(frozen=True)
class Image:
    """An image layout (OCI image specification 1.1, image-layout.md)."""

    digest: str
    """Of the manifest, with `sha256:` before it."""
    files: dict[str, bytes]
    """By their paths in the layout."""

    def write_folder(self, folder: pathlib.Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        for name, content in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def tarball(self) -> bytes:
        """What skopeo and podman call an oci-archive."""
        return archive.tar(self.files)


def build(module: bytes, version: str, labels: dict[str, str]) -> Image:
    """`version` is the image's name in the layout, and its tag in a registry."""
    blobs: dict[str, bytes] = {}

    def descriptor(media_type: str, content: bytes) -> dict:
        digest = hashlib.sha256(content).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = content
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}

    layer = archive.tar({FILE_NAME: module})
    config = {**PLATFORM, "config": {"Labels": labels},
              "rootfs": {"type": "layers",
                         "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]}}
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST_TYPE,
                "config": descriptor(CONFIG_TYPE, canonical_json(config)),
                "layers": [descriptor(LAYER_TYPE, archive.gzip_stored(layer))],
                "annotations": labels}
    entry = descriptor(MANIFEST_TYPE, canonical_json(manifest))
    index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
             "manifests": [{**entry,
                            "annotations": {"org.opencontainers.image.ref.name": version}}]}
    return Image(entry["digest"], {
        "oci-layout": canonical_json({"imageLayoutVersion": "1.0.0"}),
        "index.json": canonical_json(index), **blobs})


def labels(package: project.Package, revision: str, source: str) -> dict[str, str]:
    """The pre-defined annotation keys of the image specification; those that are known."""
    values = {"title": package.name, "description": package.description,
              "version": package.version, "licenses": package.license, "revision": revision,
              "source": source,
              "documentation": source and f"{source}/tree/v{package.version}/docs"}
    return {f"org.opencontainers.image.{key}": value for key, value in values.items() if value}


def of_this_tree(package: project.Package, revision: str, source: str) -> Image:
    return build(project.module(), package.version, labels(package, revision, source))


def tarball_name(package: project.Package) -> str:
    return f"{package.name}-{package.version}.oci.tar"


def canonical_json(value: dict) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def source_url(text: str) -> str:
    """The argument `--source`: empty, or a URL that a registry can show."""
    if text and not text.startswith("https://"):
        raise argparse.ArgumentTypeError(f"{text} is not an https:// URL")
    return text.rstrip("/")


def main() -> None:
    parser = argparse.ArgumentParser(prog="release.image", description="Build the OCI image.")
    parser.add_argument("--source", type=source_url, default="", metavar="URL",
                        help="the repository, for the labels `source` and `documentation`")
    given = parser.parse_args()
    package = project.package()
    revision = project.revision()
    image = of_this_tree(package, revision, given.source)
    tarball = FOLDER.with_name(tarball_name(package))
    image.write_folder(FOLDER)
    tarball.write_bytes(image.tarball())
    layout_path, tarball_path = (path.relative_to(project.ROOT) for path in (FOLDER, tarball))
    print(f"layout   {layout_path}\n"
          f"tarball  {tarball_path}\n"
          f"commit   {revision or 'unknown: git has none'}\n"
          f"digest   {image.digest}\n"
          f"push     skopeo copy --preserve-digests oci-archive:{tarball_path} "
          f"docker://REGISTRY/{package.name}:{package.version}")


if __name__ == "__main__":
    try:
        main()
    except project.Refused as refused:
        sys.exit(str(refused))
