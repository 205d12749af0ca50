"""The crates that are linked into the module, as a CycloneDX bill of materials.

Versions, licences and edges are those of `cargo metadata`, hashes those of Cargo.lock. Crates that
run at build time only (procedural macros and what they need) are not in the module, and not here.
Neither is Rust's standard library. Like all of a release, it has no clock: no timestamp and no
serial number, both of which the format leaves optional.
"""

import hashlib
import json
import pathlib
import re
import tempfile

from release import project

DEV_DEPENDENCIES = re.compile(r"^\[[^\n]*dev-dependencies[^\n]*\]\n(?:(?!\[).*\n)*", re.MULTILINE)


def build(module: bytes, source: str) -> bytes:
    """`source` is the URL of the repository, or empty."""
    metadata = cargo_metadata()
    packages = {package["id"]: package for package in metadata["packages"]}
    edges = linked(metadata, packages)
    hashes = {(entry["name"], entry["version"]): entry.get("checksum")
              for entry in project.locked_packages()}
    root = metadata["resolve"]["root"]

    def reference(package_id: str) -> str:
        package = packages[package_id]
        return f"pkg:cargo/{package['name']}@{package['version']}"

    def component(package_id: str) -> dict:
        package = packages[package_id]
        return described(package, package["repository"],
                         hashes[package["name"], package["version"]],
                         {"type": "library", "bom-ref": reference(package_id),
                          "purl": reference(package_id)})

    bill = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1,
        "metadata": {"component": described(
            packages[root], source, hashlib.sha256(module).hexdigest(),
            {"type": "application", "bom-ref": reference(root)})},
        "components": [component(package_id) for package_id in sorted(edges, key=reference)
                       if package_id != root],
        "dependencies": [{"ref": reference(package_id),
                          "dependsOn": sorted(map(reference, edges[package_id]))}
                         for package_id in sorted(edges, key=reference)]}
    return json.dumps(bill, indent=1).encode() + b"\n"


def described(package: dict, repository: str | None, sha256: str, identity: dict) -> dict:
    """A component. `identity` is what it is and how others refer to it."""
    return {**identity, "name": package["name"], "version": package["version"],
            "description": package["description"],
            "licenses": [{"expression": package["license"]}],
            "hashes": [{"alg": "SHA-256", "content": sha256}],
            **({"externalReferences": [{"type": "vcs", "url": repository}]} if repository else {})}


def linked(metadata: dict, packages: dict[str, dict]) -> dict[str, list[str]]:
    """The crates in the module, and which of them each depends on."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    edges: dict[str, list[str]] = {}
    found = [metadata["resolve"]["root"]]
    while found:
        package_id = found.pop()
        if package_id not in edges:
            edges[package_id] = [
                dependency["pkg"] for dependency in nodes[package_id]["deps"]
                if any(kind["kind"] is None for kind in dependency["dep_kinds"])
                and not is_procedural_macro(packages[dependency["pkg"]])]
            found += edges[package_id]
    return edges


def is_procedural_macro(package: dict) -> bool:
    return any("proc-macro" in target["kind"] for target in package["targets"])


def cargo_metadata() -> dict:
    """Of a copy of the manifest without its dev-dependencies.

    `cargo metadata` cannot leave them out, and shows crates that only their features bring in.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        # Cargo looks for the sources of each target that the manifest names, rustup for its file.
        for needed in ("src", "tests", "benches", "rust-toolchain.toml"):
            (folder / needed).symlink_to(project.ROOT / needed)
        manifest = (project.ROOT / "Cargo.toml").read_text()
        (folder / "Cargo.toml").write_text(DEV_DEPENDENCIES.sub("", manifest))
        (folder / "Cargo.lock").write_bytes((project.ROOT / "Cargo.lock").read_bytes())
        # Not --locked: Cargo drops from the copy of Cargo.lock what is not needed any more. All
        # that is left keeps its version.
        said = project.output(["cargo", "metadata", "--format-version", "1",
                               "--filter-platform", project.TARGET], folder)
    return json.loads(said)
