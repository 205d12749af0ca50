"""Starts the S3 server of `s3_server` as a process."""

import os
import pathlib
import sys

import boto3
from botocore.config import Config

from harness.server_process import ServerProcess

ACCESS_KEY_ID = "AKIALLMCACHETESTS000"
SECRET_ACCESS_KEY = "for-tests-on-loopback-only/0123456789abc"
REGION = "us-east-1"
BUCKET = "llm-cache"


class S3(ServerProcess):
    """A running S3 with one bucket. Its objects are in its memory: a restart forgets them."""

    bucket = BUCKET
    region = REGION

    def command(self) -> list:
        return [sys.executable, "-m", "harness.s3_server", "--port", str(self.port),
                "--bucket", BUCKET, "--region", REGION]

    def environment(self) -> dict[str, str]:
        tests = pathlib.Path(__file__).resolve().parents[1]
        return {**os.environ, "PYTHONPATH": str(tests), "PYTHONDONTWRITEBYTECODE": "1",
                "AWS_ACCESS_KEY_ID": ACCESS_KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY}

    def is_ready(self) -> bool:
        return self.accepts()

    @property
    def client(self):
        """AWS's own client, to look at objects as somebody else would."""
        return boto3.client(
            "s3", endpoint_url=f"http://{self.address}", region_name=REGION,
            aws_access_key_id=ACCESS_KEY_ID, aws_secret_access_key=SECRET_ACCESS_KEY,
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1},
                          # Trailing checksums belong to AWS's clients, not to what is tested.
                          request_checksum_calculation="when_required",
                          response_checksum_validation="when_required"))

    def stored_keys(self) -> list[str]:
        found = self.client.list_objects_v2(Bucket=BUCKET).get("Contents", [])
        return sorted(entry["Key"] for entry in found)

    def read(self, key: str) -> bytes:
        return self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()

    def set_all(self, value: bytes) -> int:
        """Puts `value` in the place of every object; says how many there were."""
        keys = self.stored_keys()
        for key in keys:
            self.client.put_object(Bucket=BUCKET, Key=key, Body=value)
        return len(keys)
