"""A copy of the sources in a git repository of its own, to make images and releases from."""

import os
import pathlib
import shutil
import subprocess
import sys

from harness.envoy_binary import ROOT

from release import project

LEFT_OUT = shutil.ignore_patterns(".git", "target", "__pycache__")
COMMITTED = "2026-01-02T00:00:00+0000"
SOURCE = "https://example.com/envoy-llm-cache"


class SourceTree:
    """Committed and tagged, with a changelog that is ready for the release."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        shutil.copytree(ROOT, folder, ignore=LEFT_OUT, symlinks=True)
        self.module = folder / project.MODULE.relative_to(ROOT)
        self.module.parent.mkdir(parents=True)
        shutil.copy(project.MODULE, self.module)
        self.write_changelog(f"## [Unreleased]\n\n## [{self.version}] - 2026-01-02\n\n"
                             "What is new.\n\n## [0.0.1] - 2026-01-01\n\nWhat is old.\n")
        self.git("init", "--quiet")
        self.commit()
        self.first_commit = self.git("rev-parse", "HEAD")
        self.git("tag", f"v{self.version}")

    @property
    def version(self) -> str:
        return project.package().version

    @property
    def out(self) -> pathlib.Path:
        return self.folder / "target"

    def write_changelog(self, sections: str) -> None:
        (self.folder / "CHANGELOG.md").write_text(f"# Changelog\n\nThe format.\n\n{sections}")

    def replace(self, name: str, old: str, new: str) -> None:
        path = self.folder / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    def commit(self) -> None:
        self.git("add", "--all")
        # The same commit each time, so that the images of two trees can be compared.
        self.git("commit", "--quiet", "--message", "Everything",
                 GIT_AUTHOR_DATE=COMMITTED, GIT_COMMITTER_DATE=COMMITTED)

    def reset(self) -> None:
        """As it was made, without releases."""
        self.git("reset", "--quiet", "--hard", self.first_commit)
        self.git("clean", "--quiet", "--force", "-d")
        self.git("tag", "--force", f"v{self.version}")
        for folder in self.out.glob("release-*"):
            shutil.rmtree(folder)

    def git(self, *arguments: str, **variables: str) -> str:
        who = {f"GIT_{role}_{part}": "test" for role in ("AUTHOR", "COMMITTER")
               for part in ("NAME", "EMAIL")}
        return subprocess.run(
            ["git", *arguments], cwd=self.folder, check=True, capture_output=True, text=True,
            env={**os.environ, **who, "GIT_CONFIG_GLOBAL": os.devnull,
                 "GIT_CONFIG_NOSYSTEM": "1", **variables}).stdout.strip()

    def make(self, module: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
        """Runs a module of release/, as make does."""
        return subprocess.run(
            [sys.executable, "-m", f"release.{module}", *arguments], cwd=self.folder, check=False,
            capture_output=True, text=True,
            env={**os.environ, "PYTHONPATH": "", "PYTHONDONTWRITEBYTECODE": "1", **variables})
