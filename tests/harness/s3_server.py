"""An S3 that verifies what it is sent: moto, its signature and policy checks on from the start.

Moto and not s3s-fs: it is a pinned Python package instead of minutes of compiling, and verifies
signatures with botocore, which is what AWS's own clients sign with. What it leaves out is done
here: whether the body is the one that was signed, and requests with no signature at all.

    python -m harness.s3_server --port 9000 --bucket b --region us-east-1

Credentials are read from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, as Envoy reads them.
"""

import argparse
import hashlib
import io
import json
import os
import re

from moto import settings
from moto.core import DEFAULT_ACCOUNT_ID
from moto.iam.models import iam_backends
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.s3.models import s3_backends
from werkzeug.serving import WSGIRequestHandler, make_server

UNSIGNED = "UNSIGNED-PAYLOAD"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--bucket", required=True)
    parser.add_argument("--region", required=True)
    given = parser.parse_args()
    admit(given.bucket, given.region)
    settings.INITIAL_NO_AUTH_ACTION_COUNT = 0
    application = Signed(DomainDispatcherApplication(create_backend_app))
    make_server("127.0.0.1", given.port, application, threaded=True,
                request_handler=KeepsConnections).serve_forever()


def admit(bucket: str, region: str) -> None:
    """A bucket, and a user who may do with its objects what the cache does, and no more."""
    iam = iam_backends[DEFAULT_ACCOUNT_ID]["aws"]
    iam.create_user(region, "cache", path="/")
    key = iam.create_access_key("cache")
    key.access_key_id = os.environ["AWS_ACCESS_KEY_ID"]
    key.secret_access_key = os.environ["AWS_SECRET_ACCESS_KEY"]
    iam.put_user_policy("cache", "objects", json.dumps({
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Resource": f"arn:aws:s3:::{bucket}/*",
             "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"]},
            # Without it, S3 answers 403 instead of 404 for an object that is not there.
            {"Effect": "Allow", "Resource": f"arn:aws:s3:::{bucket}",
             "Action": "s3:ListBucket"}]}))
    s3_backends[DEFAULT_ACCOUNT_ID]["aws"].create_bucket(bucket, region)


class Signed:
    """Refuses, as S3 does, what has no signature, and a body other than the one signed."""

    def __init__(self, application) -> None:
        self.application = application

    def __call__(self, environ: dict, start_response):
        signed = re.search(r"Credential=[^/]+/\d{8}/", environ.get("HTTP_AUTHORIZATION", ""))
        digest = environ.get("HTTP_X_AMZ_CONTENT_SHA256", "")
        if not signed or not digest:
            return refuse(start_response, "403 Forbidden", "AccessDenied")
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(length) if length else b""
        if digest not in (UNSIGNED, hashlib.sha256(body).hexdigest()):
            return refuse(start_response, "400 Bad Request", "XAmzContentSHA256Mismatch")
        environ["wsgi.input"] = io.BytesIO(body)
        return self.application(environ, start_response)


def refuse(start_response, status: str, code: str) -> list[bytes]:
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code></Error>'.encode()
    start_response(status, [("Content-Type", "application/xml"),
                            ("Content-Length", str(len(body))), ("Connection", "close")])
    return [body]


class KeepsConnections(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"


if __name__ == "__main__":
    main()
