"""Makes target/release-VERSION/, what is published for a version:

    python3 -m release.bundle --source https://github.com/OWNER/REPOSITORY

It refuses if Cargo.toml, Cargo.lock, CHANGELOG.md and the git tag disagree, and if the tree is not
that of the tag. `--draft` shows what a release would hold before there is a tag: the tree may
differ from the commit then, and the folder is called a draft. The versions must agree even so.
"""

import argparse
import hashlib
import shutil
import sys

from release import archive, image, project, sbom

CHECKSUMS = "SHA256SUMS"
NOTES = "NOTES.md"


def main() -> None:
    parser = argparse.ArgumentParser(prog="release.bundle", description="Make a release.")
    parser.add_argument("--source", type=image.source_url, default="", metavar="URL",
                        help="the repository, for the image's labels and the SBOM")
    parser.add_argument("--draft", action="store_true",
                        help="accept a tree that is changed or not tagged")
    given = parser.parse_args()
    package = project.package()
    objections = about_versions(package) + ([] if given.draft else about_git(package))
    if objections:
        raise project.Refused("\n- ".join([f"no release of {package.version}:", *objections]))
    folder = project.ROOT / "target" / (
        f"release-{package.version}" + ("-draft" if given.draft else ""))
    files = contents(package, given.source)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    print(f"{folder.relative_to(project.ROOT)}/")
    for name, content in files.items():
        print(f"{len(content):>9}  {name}")


def contents(package: project.Package, source: str) -> dict[str, bytes]:
    """The files of the release by their names."""
    module = project.module()
    built = image.of_this_tree(package, project.revision(), source)
    prefix = f"{package.name}-{package.version}"
    files = {
        project.MODULE.name: module,
        image.tarball_name(package): built.tarball(),
        f"{prefix}-examples.tar.gz": examples(prefix),
        f"{prefix}.cdx.json": sbom.build(module, source),
        "LICENSE": (project.ROOT / "LICENSE").read_bytes(),
        NOTES: notes(package, module, built)}
    return {**files, CHECKSUMS: checksums(files)}


def examples(prefix: str) -> bytes:
    """The folder envoy/ with the licence, under a folder of its own."""
    names = git_files("envoy") + ["LICENSE"]
    return archive.gzip_stored(archive.tar(
        {f"{prefix}/{name}": (project.ROOT / name).read_bytes() for name in names}))


def git_files(folder: str) -> list[str]:
    """Those of a folder that git does not ignore, and that were not deleted."""
    listed = project.git("ls-files", "-z", "--cached", "--others", "--exclude-standard", folder)
    return sorted(name for name in set(listed.split("\0"))
                  if name and (project.ROOT / name).exists())


def notes(package: project.Package, module: bytes, built: image.Image) -> bytes:
    said = project.section(project.changelog(), package.version)
    return (f"{said}\n\n"
            "### Digests\n\n"
            f"- Image: `{built.digest}`. Without `sha256:`, it is the `sha256` of Istio's "
            "WasmPlugin and the `image.sha256` of Envoy Gateway.\n"
            f"- Module: SHA-256 `{hashlib.sha256(module).hexdigest()}`\n").encode()


def checksums(files: dict[str, bytes]) -> bytes:
    """What `sha256sum --check` reads."""
    return "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n"
                   for name, content in sorted(files.items())).encode()


def about_versions(package: project.Package) -> list[str]:
    """In what Cargo.lock and CHANGELOG.md disagree with Cargo.toml."""
    found = []
    locked = next((entry["version"] for entry in project.locked_packages()
                   if entry["name"] == package.name), "")
    if locked != package.version:
        found.append(f"Cargo.toml has version {package.version}, Cargo.lock {locked}")
    changelog = project.changelog()
    newest = project.newest_version(changelog)
    if newest != package.version:
        found.append(f"Cargo.toml has version {package.version}, CHANGELOG.md "
                     f"{newest or 'none with a date'}")
    elif not project.section(changelog, package.version):
        found.append(f"CHANGELOG.md says nothing about {package.version}")
    if project.section(changelog, "Unreleased"):
        found.append("CHANGELOG.md has changes under Unreleased: they belong to "
                     f"{package.version}, or to a later version and commit")
    return found


def about_git(package: project.Package) -> list[str]:
    """Why the tree is not that of the version's tag."""
    found = []
    tag = f"v{package.version}"
    head = project.git("rev-parse", "HEAD")
    if not project.git("tag", "--list", tag):
        found.append(f"there is no tag {tag}")
    elif (tagged := project.git("rev-parse", f"refs/tags/{tag}^{{commit}}")) != head:
        found.append(f"{tag} is commit {tagged[:12]}, and this is {head[:12]}")
    if changed := project.changed_files():
        found.append("the tree differs from its commit: " + ", ".join(changed[:5])
                     + (" and more" if len(changed) > 5 else ""))
    return found


if __name__ == "__main__":
    try:
        main()
    except project.Refused as refused:
        sys.exit(str(refused))
