"""Makes what a release holds: the OCI image, the SBOM, the release notes and their checksums.

Runs on Python 3.11 or later without further packages:

    python3 -m release.image
    python3 -m release.bundle
"""
