"""Checks Kubernetes resources as an API server would, and stricter: unknown fields are errors.

Kubernetes' own schemas come with the package kubernetes-validate. Those of Istio, the Gateway API,
Envoy Gateway and Envoy AI Gateway are data under other people's licences and no part of this
repository: `LLM_CACHE_CRDS` names their folder, in which GROUP_VERSION_KIND.json is the
`openAPIV3Schema` of a CRD. Rules in CEL are not run.
"""

import copy
import json
import os
import pathlib

import jsonschema
import kubernetes_validate

from harness.envoy_binary import ROOT

KUBERNETES = "1.33"
# The groups of Kubernetes' own resources that are used here, beside the one without a name.
CORE_GROUPS = ("apps", "networking.k8s.io", "policy")
# What the API server adds to a CRD's schema.
ALWAYS = ("apiVersion", "kind", "metadata")


class Unknown(Exception):
    """There is no schema for this kind of resource."""


def folder() -> pathlib.Path | None:
    given = os.environ.get("LLM_CACHE_CRDS")
    place = pathlib.Path(given) if given else ROOT.parent / "shared" / "crds"
    if given and not place.is_dir():
        raise NotADirectoryError(f"LLM_CACHE_CRDS: no folder {place}")
    return place if place.is_dir() else None


def is_core(resource: dict) -> bool:
    group, slash, _ = resource["apiVersion"].partition("/")
    return not slash or group in CORE_GROUPS


def check(resource: dict, crds: pathlib.Path | None) -> None:
    """Raises jsonschema's ValidationError if a field is unknown, missing or of the wrong type."""
    if is_core(resource):
        kubernetes_validate.validate(resource, KUBERNETES, strict=True)
        return
    group, version = resource["apiVersion"].split("/")
    path = (crds or pathlib.Path()) / f"{group}_{version}_{resource['kind']}.json"
    if crds is None or not path.exists():
        raise Unknown(f"{resource['apiVersion']} {resource['kind']}: no schema")
    if "name" not in resource.get("metadata", {}):
        raise jsonschema.ValidationError("metadata.name: missing")
    schema = strict(json.loads(path.read_text()))
    schema["required"] = [name for name in schema.get("required", []) if name not in ALWAYS]
    body = {name: value for name, value in resource.items() if name not in ALWAYS}
    jsonschema.Draft202012Validator(schema).validate(body)


def strict(schema: dict) -> dict:
    """The schema with all fields forbidden that it does not name."""
    schema = copy.deepcopy(schema)
    close(schema)
    return schema


def close(node) -> None:
    if isinstance(node, list):
        for element in node:
            close(element)
    elif isinstance(node, dict):
        for name, value in node.items():
            if name == "properties":
                for each in value.values():
                    close(each)
            elif name not in ("enum", "default", "example", "required"):
                close(value)
        keeps = node.get("x-kubernetes-preserve-unknown-fields")
        if isinstance(node.get("properties"), dict) and node.get("type") == "object" and not keeps:
            node.setdefault("additionalProperties", False)
