"""Containers: the runtime that is found, images built from what is here, and compose.yaml."""
