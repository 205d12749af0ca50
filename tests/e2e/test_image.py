"""The image is the same wherever it is built, and is what Istio and Envoy Gateway fetch.

The registry is a real one on loopback, what pushes and pulls is a real skopeo. The fetchers are
written in Go, and stood in for by a port of their rules (`harness/image_fetcher.py`).
"""

import gzip
import hashlib
import itertools
import json
import shutil
import subprocess
import tarfile

import pytest
from chats import chat
from harness import debian, image_fetcher
from harness.envoy import WASM, Envoy
from harness.http1 import fetch
from harness.image_fetcher import (
    DOCKER_MANIFEST,
    MAX_UNPACKED_BYTES,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    PLATFORM,
    WASM_LAYER,
)
from harness.registry import Registry
from harness.skopeo import skopeo
from source_tree import SOURCE, SourceTree

from release import archive, image, project

REPOSITORY = "team/envoy-llm-cache"
MIB = bytes(1024 * 1024)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return SourceTree(tmp_path_factory.mktemp("image") / "tree")


@pytest.fixture(scope="module")
def made(tree):
    """What `make image` prints."""
    ran = tree.make("image", "--source", SOURCE)
    assert ran.returncode == 0, ran.stderr
    return dict(line.split(None, 1) for line in ran.stdout.splitlines())


@pytest.fixture(scope="module")
def digest(made):
    return made["digest"].removeprefix("sha256:")


@pytest.fixture(scope="module")
def registry():
    try:
        debian.find_all("docker-registry", "skopeo")
    except debian.NoProgram as missing:
        pytest.skip(f"no registry, or no skopeo: {missing}")
    with Registry() as registry:
        yield registry


@pytest.fixture(scope="module")
def pushed(registry, tree, made):
    """The image in the registry, pushed by the command that `make image` prints."""
    name = f"{registry.address}/{REPOSITORY}:{tree.version}"
    program, *arguments = made["push"].split()
    assert program == "skopeo"
    assert arguments[-1] == f"docker://REGISTRY/envoy-llm-cache:{tree.version}"
    skopeo(registry.address, *arguments[:-1], f"docker://{name}", folder=tree.folder)
    return name


def layout(tree: SourceTree) -> dict[str, bytes]:
    folder = tree.out / "image"
    return {str(path.relative_to(folder)): path.read_bytes()
            for path in folder.rglob("*") if path.is_file()}


def manifest_and_config(files: dict[str, bytes], digest: str) -> tuple[dict, dict]:
    manifest = json.loads(files[f"blobs/sha256/{digest}"])
    name = manifest["config"]["digest"].replace(":", "/")
    return manifest, json.loads(files[f"blobs/{name}"])


# -- building -------------------------------------------------------------------------------------

def test_the_same_sources_make_the_same_image_anywhere(tree, made, tmp_path):
    other = SourceTree(tmp_path / "elsewhere")
    other.module.touch()
    ran = other.make("image", "--source", f"{SOURCE}/", TZ="Asia/Tokyo", PYTHONHASHSEED="7")
    assert ran.returncode == 0, ran.stderr
    assert layout(other) == layout(tree)
    name = f"envoy-llm-cache-{tree.version}.oci.tar"
    assert (other.out / name).read_bytes() == (tree.out / name).read_bytes()


def test_another_module_version_revision_or_source_makes_another_digest():
    package = project.package()
    newer = project.Package(package.name, "99.0.0", package.description, package.license)
    images = [image.build(module, version.version, image.labels(version, revision, source))
              for module, version, revision, source in [
                  (b"module", package, "abc", SOURCE), (b"other", package, "abc", SOURCE),
                  (b"module", newer, "abc", SOURCE), (b"module", package, "abc-dirty", SOURCE),
                  (b"module", package, "abc", "")]]
    assert len({built.digest for built in images}) == len(images)


def test_it_says_what_it_is(tree, made, digest):
    manifest, config = manifest_and_config(layout(tree), digest)
    expected = {"title": "envoy-llm-cache", "description": project.package().description,
                "version": tree.version, "licenses": "Apache-2.0", "source": SOURCE,
                "documentation": f"{SOURCE}/tree/v{tree.version}/docs",
                "revision": tree.git("rev-parse", "HEAD")}
    assert manifest["annotations"] == {f"org.opencontainers.image.{key}": value
                                       for key, value in expected.items()}
    assert config["config"]["Labels"] == manifest["annotations"]


def test_what_differs_from_the_commit_is_dirty(tmp_path):
    tree = SourceTree(tmp_path / "tree")
    (tree.folder / "README.md").write_text("Changed.")
    ran = tree.make("image")
    assert f"commit   {tree.git('rev-parse', 'HEAD')}-dirty\n" in ran.stdout
    index = json.loads(layout(tree)["index.json"])
    digest = index["manifests"][0]["digest"].removeprefix("sha256:")
    manifest, _ = manifest_and_config(layout(tree), digest)
    assert manifest["annotations"]["org.opencontainers.image.revision"] == (
        tree.git("rev-parse", "HEAD") + "-dirty")
    assert "org.opencontainers.image.source" not in manifest["annotations"]


def test_every_blob_is_what_its_descriptor_says(tree, made, digest):
    files = layout(tree)
    manifest, config = manifest_and_config(files, digest)
    descriptors = [*json.loads(files["index.json"])["manifests"], manifest["config"],
                   *manifest["layers"]]
    assert set(files) == {"oci-layout", "index.json",
                          *(f"blobs/{entry['digest'].replace(':', '/')}" for entry in descriptors)}
    for entry in descriptors:
        blob = files[f"blobs/{entry['digest'].replace(':', '/')}"]
        assert len(blob) == entry["size"]
        assert hashlib.sha256(blob).hexdigest() == entry["digest"].removeprefix("sha256:")
    layer = gzip.decompress(files[f"blobs/{manifest['layers'][0]['digest'].replace(':', '/')}"])
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(layer).hexdigest()}"]


@pytest.mark.parametrize("size", [0, 1, 0xFFFF, 0x10000, 0x1FFFE, 200_000])
def test_stored_gzip_is_gzip(size):
    content = bytes(number % 251 for number in range(size))
    stream = archive.gzip_stored(content)
    assert gzip.decompress(stream) == content
    unzipped = subprocess.run(["gzip", "--decompress", "--stdout"], input=stream,
                              capture_output=True, check=True)
    assert unzipped.stdout == content


def test_sources_from_an_archive_have_no_commit(tmp_path):
    tree = SourceTree(tmp_path / "tree")
    shutil.rmtree(tree.folder / ".git")
    ran = tree.make("image", GIT_CEILING_DIRECTORIES=str(tmp_path))
    assert ran.returncode == 0, ran.stderr
    assert "commit   unknown: git has none\n" in ran.stdout
    assert b"org.opencontainers.image.revision" not in b"".join(layout(tree).values())


@pytest.mark.parametrize("source", ["http://example.com", "git@example.com:team/it"])
def test_a_source_that_is_no_secure_page_is_refused(tree, source):
    ran = tree.make("image", "--source", source)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert f"{source} is not an https:// URL" in ran.stderr


def test_without_a_module_it_says_how_to_get_one(tmp_path):
    tree = SourceTree(tmp_path / "tree")
    tree.module.unlink()
    ran = tree.make("image")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "run `make build` first" in ran.stderr


# -- in a registry --------------------------------------------------------------------------------

def test_the_registry_has_it_under_the_digest_that_was_printed(registry, pushed, digest):
    said = json.loads(skopeo(registry.address, "inspect", f"docker://{pushed}"))
    assert said["Digest"] == f"sha256:{digest}"
    assert said["Labels"]["org.opencontainers.image.source"] == SOURCE


def test_pulled_it_is_what_was_built(registry, tree, pushed, digest, tmp_path):
    skopeo(registry.address, "copy", "--preserve-digests", f"docker://{pushed}",
           f"oci:{tmp_path / 'pulled'}:{tree.version}")
    built = layout(tree)
    for name in (name for name in built if name.startswith("blobs/")):
        assert (tmp_path / "pulled" / name).read_bytes() == built[name]


def test_the_folder_is_the_same_image_as_the_tarball(registry, tree, made, digest):
    name = f"docker://{registry.address}/from-folder:{tree.version}"
    skopeo(registry.address, "copy", "--preserve-digests",
           f"oci:{tree.out / 'image'}:{tree.version}", name)
    assert json.loads(skopeo(registry.address, "inspect", name))["Digest"] == f"sha256:{digest}"


def test_what_was_fetched_runs_in_envoy(envoys, pushed, digest, prompt, tmp_path):
    module = tmp_path / "fetched.wasm"
    module.write_bytes(image_fetcher.fetch(pushed, sha256=digest))
    config = envoys.config()
    config.plugin["vm_config"]["code"]["local"]["filename"] = str(module)
    body = chat(prompt())
    with Envoy(config) as envoy:
        assert [fetch(envoy.port, body).cache for _ in range(2)] == ["MISS", "HIT"]


def test_sha256_is_that_of_the_manifest_and_not_of_the_module(pushed, digest):
    by_digest = f"{pushed.rpartition(':')[0]}@sha256:{digest}"
    module = image_fetcher.fetch(by_digest)
    assert module == image_fetcher.fetch(pushed) == WASM.read_bytes()
    for wrong in (hashlib.sha256(module).hexdigest(), "0" * 64):
        for reference in (pushed, by_digest):
            with pytest.raises(image_fetcher.Refused, match="does not match"):
                image_fetcher.fetch(reference, sha256=wrong)


def test_as_a_docker_image_it_is_fetched_too(registry, pushed):
    """A registry that takes no OCI images is pushed a converted one."""
    name = f"{registry.address}/docker/envoy-llm-cache:1"
    skopeo(registry.address, "copy", "--format", "v2s2", f"docker://{pushed}", f"docker://{name}")
    raw = skopeo(registry.address, "inspect", "--raw", f"docker://{name}")
    assert json.loads(raw)["mediaType"] == DOCKER_MANIFEST
    assert image_fetcher.fetch(name) == WASM.read_bytes()


def test_of_an_index_only_the_tag_is_fetched(registry, pushed, digest):
    """`sha256` and `@sha256:` are compared with the manifest of a platform, not with the index."""
    repository = pushed.rpartition(":")[0]
    manifest = skopeo(registry.address, "inspect", "--raw", f"docker://{pushed}").encode()
    index = image.canonical_json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [
        {"mediaType": OCI_MANIFEST, "digest": f"sha256:{digest}", "size": len(manifest),
         "platform": PLATFORM}]})
    registry.push(REPOSITORY, "index", OCI_INDEX, index)
    of_index = hashlib.sha256(index).hexdigest()
    assert image_fetcher.fetch(f"{repository}:index", sha256=digest) == WASM.read_bytes()
    with pytest.raises(image_fetcher.Refused, match="does not match"):
        image_fetcher.fetch(f"{repository}@sha256:{of_index}")
    with pytest.raises(image_fetcher.Refused, match="does not match"):
        image_fetcher.fetch(f"{repository}:index", sha256=of_index)


# -- the rules, with images of other makers -------------------------------------------------------

numbers = itertools.count(1)


@pytest.fixture
def push(registry):
    """Pushes an image with these layers (media type, content); returns its name."""
    def push(*layers: tuple[str, bytes], config_type: str = image.CONFIG_TYPE) -> str:
        tag = f"made-{next(numbers)}"
        blobs = [b"{}", *(content for _, content in layers)]
        described = [{"mediaType": media_type, "size": len(content),
                      "digest": f"sha256:{hashlib.sha256(content).hexdigest()}"}
                     for media_type, content in ((config_type, b"{}"), *layers)]
        manifest = image.canonical_json({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": described[0],
            "layers": described[1:]})
        registry.push(REPOSITORY, tag, OCI_MANIFEST, manifest, blobs)
        return f"{registry.address}/{REPOSITORY}:{tag}"
    return push


def zipped(**files: bytes) -> bytes:
    return gzip.compress(archive.tar(
        {name.replace("__", "/").replace("_", "."): content for name, content in files.items()}))


MODULE = b"\0asm\1\0\0\0"


@pytest.mark.parametrize("layers", [
    [(OCI_LAYER, zipped(plugin_wasm=MODULE))],
    [(OCI_LAYER, zipped(etc__passwd=b"root")), (OCI_LAYER, zipped(a__plugin_wasm=MODULE))],
    [(WASM_LAYER, MODULE), ("application/vnd.module.wasm.config.v1+json", b"{}")],
    [("application/vnd.module.wasm.config.v1+json", b"{}"), (WASM_LAYER, MODULE)],
], ids=["a layer", "the last layer", "two layers, the first wasm", "two layers, the second wasm"])
def test_these_layouts_are_fetched(push, layers):
    assert image_fetcher.fetch(push(*layers)) == MODULE


@pytest.mark.parametrize("layers, said", [
    ([("application/wasm", MODULE)], "invalid media type application/wasm"),
    ([(WASM_LAYER, MODULE)], "number of layers must be 2 but got 1"),
    ([("application/vnd.oci.image.layer.v1.tar", archive.tar({"plugin.wasm": MODULE}))],
     "invalid media type"),
    ([(OCI_LAYER, archive.tar({"plugin.wasm": MODULE}))], "could not extract"),
    ([(OCI_LAYER, zipped(plugin_wasm=MODULE)), (OCI_LAYER, zipped(other_wasm=MODULE))],
     "plugin.wasm not found"),
    ([(OCI_LAYER, zipped(plugin_wasm=b"#!/bin/sh"))], "binary is invalid"),
], ids=["application/wasm", "a wasm layer alone", "not zipped", "not zipped as it says",
        "another name", "no wasm"])
def test_these_layouts_are_refused(push, layers, said):
    with pytest.raises(image_fetcher.Refused, match=said):
        image_fetcher.fetch(push(*layers))


def test_a_layer_that_unpacks_to_too_much_is_refused(push):
    entry = tarfile.TarInfo("plugin.wasm")
    entry.size = MAX_UNPACKED_BYTES
    # Members of one gzip stream, of which all but the first are the same.
    layer = gzip.compress(entry.tobuf()) + gzip.compress(MIB) * (MAX_UNPACKED_BYTES // len(MIB))
    with pytest.raises(image_fetcher.Refused, match="could not extract"):
        image_fetcher.fetch(push((OCI_LAYER, layer)))


def test_a_registry_that_answers_with_other_bytes_is_refused(push, registry):
    layer = zipped(plugin_wasm=MODULE)
    name = push((OCI_LAYER, layer))
    digest = hashlib.sha256(layer).hexdigest()
    stored = next((registry.path / "blobs").rglob(f"{digest}/data"))
    stored.write_bytes(zipped(plugin_wasm=MODULE[:4] + b"evil"))
    with pytest.raises(image_fetcher.Refused):
        image_fetcher.fetch(name)
