"""A release holds what it says, the same bytes each time, and only if all agree on its version."""

import hashlib
import json
import re
import subprocess
import tarfile

import pytest
import yaml
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from harness import debian, skopeo
from harness.envoy import ROOT, WASM
from harness.registry import Registry
from license_expression import get_spdx_licensing
from source_tree import SOURCE, SourceTree

from release import project

WORKFLOW = ROOT / ".github" / "workflows" / "release.yml"
CARGO_BUILD = ROOT / "target" / "cargo" / project.TARGET / "release" / "deps"


@pytest.fixture(scope="module")
def shared_tree(tmp_path_factory):
    return SourceTree(tmp_path_factory.mktemp("changed") / "tree")


@pytest.fixture
def tree(shared_tree):
    """One to change."""
    yield shared_tree
    shared_tree.reset()


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """A tree in which `make release` was run."""
    tree = SourceTree(tmp_path_factory.mktemp("release") / "tree")
    ran = tree.make("bundle", "--source", SOURCE)
    assert ran.returncode == 0, ran.stderr
    return tree


@pytest.fixture(scope="module")
def folder(released):
    return released.out / f"release-{released.version}"


@pytest.fixture(scope="module")
def bill(folder, released):
    return json.loads((folder / f"envoy-llm-cache-{released.version}.cdx.json").read_text())


# -- what is in it --------------------------------------------------------------------------------

def test_it_holds_all_of_it(folder, released):
    prefix = f"envoy-llm-cache-{released.version}"
    assert sorted(path.name for path in folder.iterdir()) == sorted([
        "envoy_llm_cache.wasm", f"{prefix}.oci.tar", f"{prefix}-examples.tar.gz",
        f"{prefix}.cdx.json", "LICENSE", "NOTES.md", "SHA256SUMS"])
    assert (folder / "envoy_llm_cache.wasm").read_bytes() == WASM.read_bytes()


def test_sha256sum_finds_all_of_it_as_it_should_be(folder):
    checked = subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=folder,
                             check=True, capture_output=True, text=True)
    found = {line.removesuffix(": OK") for line in checked.stdout.splitlines()}
    assert found == {path.name for path in folder.iterdir()} - {"SHA256SUMS"}


def test_the_examples_are_the_folder_envoy(folder, released):
    prefix = f"envoy-llm-cache-{released.version}"
    with tarfile.open(folder / f"{prefix}-examples.tar.gz") as archive:
        held = {entry.name: archive.extractfile(entry).read() for entry in archive}
    expected = {f"{prefix}/{path.relative_to(released.folder)}": path.read_bytes()
                for path in (released.folder / "envoy").rglob("*") if path.is_file()}
    assert held == {**expected, f"{prefix}/LICENSE": (ROOT / "LICENSE").read_bytes()}


def test_the_notes_are_the_versions_part_of_the_changelog_and_the_digests(folder, released):
    notes = (folder / "NOTES.md").read_text()
    assert notes.startswith("What is new.\n\n### Digests\n")
    assert "What is old." not in notes
    with tarfile.open(folder / f"envoy-llm-cache-{released.version}.oci.tar") as archive:
        index = json.load(archive.extractfile("index.json"))
    assert f"Image: `{index['manifests'][0]['digest']}`" in notes
    assert f"SHA-256 `{hashlib.sha256(WASM.read_bytes()).hexdigest()}`" in notes


def test_the_same_sources_make_the_same_release(folder, tree):
    ran = tree.make("bundle", "--source", SOURCE, TZ="Asia/Tokyo", PYTHONHASHSEED="7")
    assert ran.returncode == 0, ran.stderr
    other = tree.out / folder.name
    assert {path.name: path.read_bytes() for path in other.iterdir()} == {
        path.name: path.read_bytes() for path in folder.iterdir()}


# -- the bill of materials ------------------------------------------------------------------------

def test_the_bill_is_cyclonedx_by_its_schema(bill):
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bill)) is None


def test_its_licences_are_spdx_expressions(bill):
    licensing = get_spdx_licensing()
    for component in [bill["metadata"]["component"], *bill["components"]]:
        for entry in component["licenses"]:
            assert licensing.validate(entry["expression"]).errors == [], component["name"]


def test_it_has_every_crate_that_the_module_names(bill):
    """Panics name the source file they are in, and so the crate with its version."""
    named = set(re.findall(rb"registry/src/[^/]+/([^/]+)/", WASM.read_bytes()))
    assert len(named) > 5
    listed = {f"{entry['name']}-{entry['version']}" for entry in bill["components"]}
    assert {name.decode() for name in named} <= listed


def test_it_has_no_crate_that_was_not_compiled_for_the_module(bill):
    compiled = {re.match(r"lib(\w+)-\w+$", path.stem).group(1)
                for path in CARGO_BUILD.glob("lib*-*.rlib")}
    if not compiled:
        pytest.skip(f"no {CARGO_BUILD.relative_to(ROOT)}: the module was built elsewhere")
    listed = {entry["name"].replace("-", "_") for entry in bill["components"]}
    assert listed <= compiled


def test_its_hashes_are_those_of_cargo_lock(bill):
    locked = {(entry["name"], entry["version"]): entry.get("checksum")
              for entry in project.locked_packages()}
    for component in bill["components"]:
        assert component["hashes"] == [
            {"alg": "SHA-256", "content": locked[component["name"], component["version"]]}]
    assert bill["metadata"]["component"]["hashes"] == [
        {"alg": "SHA-256", "content": hashlib.sha256(WASM.read_bytes()).hexdigest()}]


def test_every_crate_is_reached_from_the_module(bill):
    edges = {entry["ref"]: entry["dependsOn"] for entry in bill["dependencies"]}
    found, left = set(), [bill["metadata"]["component"]["bom-ref"]]
    while left:
        if (reference := left.pop()) not in found:
            found.add(reference)
            left += edges[reference]
    assert found == set(edges)
    assert len(found) == len(bill["components"]) + 1


# -- what is refused ------------------------------------------------------------------------------

def commit_more(tree):
    (tree.folder / "README.md").write_text("Changed.")
    tree.commit()


REFUSED = {
    "another version in Cargo.toml": (
        lambda tree: tree.replace("Cargo.toml", f'version = "{tree.version}"', 'version = "9.9.9"'),
        "Cargo.toml has version 9.9.9, Cargo.lock {version}",
        "Cargo.toml has version 9.9.9, CHANGELOG.md {version}"),
    "another version in the changelog": (
        lambda tree: tree.write_changelog("## [9.9.9] - 2026-01-03\n\nNew.\n"),
        "Cargo.toml has version {version}, CHANGELOG.md 9.9.9"),
    "no date in the changelog": (
        lambda tree: tree.write_changelog(f"## [{tree.version}]\n\nNew.\n"),
        "CHANGELOG.md none with a date"),
    "nothing in the changelog": (
        lambda tree: tree.write_changelog(f"## [{tree.version}] - 2026-01-03\n"),
        "CHANGELOG.md says nothing about {version}"),
    "changes that no version has": (
        lambda tree: tree.write_changelog(
            f"## [Unreleased]\n\nNewer.\n\n## [{tree.version}] - 2026-01-03\n\nNew.\n"),
        "CHANGELOG.md has changes under Unreleased"),
}
REFUSED_UNLESS_A_DRAFT = {
    "no tag": (lambda tree: tree.git("tag", "--delete", f"v{tree.version}"),
               "there is no tag v{version}"),
    "the tag of another commit": (commit_more, "v{version} is commit"),
    "a changed file": (lambda tree: (tree.folder / "LICENSE").write_text("All rights reserved."),
                       "the tree differs from its commit:  M LICENSE"),
    "a new file": (lambda tree: (tree.folder / "src" / "new.rs").touch(),
                   "the tree differs from its commit: ?? src/new.rs"),
}


@pytest.mark.parametrize("case", [*REFUSED, *REFUSED_UNLESS_A_DRAFT])
def test_no_release_is_made_of(tree, case):
    change, *said = {**REFUSED, **REFUSED_UNLESS_A_DRAFT}[case]
    change(tree)
    ran = tree.make("bundle")
    assert (ran.returncode, ran.stdout) == (1, "")
    for line in said:
        assert line.format(version=tree.version) in ran.stderr
    assert not list(tree.out.glob("release-*"))


@pytest.mark.parametrize("case", REFUSED)
def test_no_draft_is_made_of(tree, case):
    change, *_ = REFUSED[case]
    change(tree)
    ran = tree.make("bundle", "--draft")
    assert (ran.returncode, ran.stdout) == (1, "")


@pytest.mark.parametrize("case", REFUSED_UNLESS_A_DRAFT)
def test_a_draft_is_made_of(tree, case):
    change, *_ = REFUSED_UNLESS_A_DRAFT[case]
    change(tree)
    ran = tree.make("bundle", "--draft")
    assert ran.returncode == 0, ran.stderr
    assert [path.name for path in tree.out.glob("release-*")] == [f"release-{tree.version}-draft"]


# -- the workflow ---------------------------------------------------------------------------------

def steps() -> list[dict]:
    jobs = yaml.safe_load(WORKFLOW.read_text())["jobs"]
    return [step for job in jobs.values() for step in job["steps"]]


def test_the_workflow_calls_targets_that_make_has():
    calls = [step["run"] for step in steps() if step.get("run", "").startswith("make ")]
    assert "make release" in calls
    for call in calls:
        ran = subprocess.run([*call.split(), "--question", "--dry-run"], cwd=ROOT, check=False,
                             capture_output=True, text=True)
        # 2 is an error, such as a target that there is not.
        assert ran.returncode in (0, 1), ran.stderr


def test_the_workflow_pushes_the_image_with_its_digest(folder, released, tmp_path):
    try:
        debian.find_all("docker-registry", "skopeo")
    except debian.NoProgram as missing:
        pytest.skip(f"no registry, or no skopeo: {missing}")
    push = next(step["run"] for step in steps() if step.get("name") == "Push the image")
    with Registry() as registry:
        environment = {
            **skopeo.environment(tmp_path, registry.address), "REGISTRY": registry.address,
            "TAG": f"v{released.version}", "GITHUB_REPOSITORY": "Team/Envoy-LLM-Cache",
            "GITHUB_ACTOR": "team", "TOKEN": "secret"}
        ran = subprocess.run(["bash", "-e", "-c", push], cwd=released.folder, env=environment,
                             capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr
        said = json.loads(skopeo.skopeo(
            registry.address, "inspect",
            f"docker://{registry.address}/team/envoy-llm-cache:{released.version}"))
    assert f"Image: `{said['Digest']}`" in (folder / "NOTES.md").read_text()


def test_the_workflow_uploads_files_that_are_there(folder, released):
    publish = next(step["run"] for step in steps() if step.get("name") == "Publish the release")
    # What gh would be called with.
    ran = subprocess.run(["bash", "-e", "-c", f'gh() {{ printf "%s\\n" "$@"; }}\n{publish}'],
                         cwd=released.folder, env={"TAG": f"v{released.version}"},
                         capture_output=True, text=True, check=True)
    words = ran.stdout.splitlines()
    named = [word for word in words if word.startswith("target/")]
    assert set(named) == {str(path.relative_to(released.folder)) for path in folder.iterdir()}
