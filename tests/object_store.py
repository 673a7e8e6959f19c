"""A local server that speaks S3, as tests and the programs that they start see it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from moto.server import ThreadedMotoServer

logging.getLogger("werkzeug").setLevel(logging.ERROR)
BUCKET = "plates"
REGION = "us-east-1"


@dataclass(frozen=True)
class ObjectStore:
    """A running server with one bucket.

    Parameters
    ----------
    endpoint
        Address of the server.
    client
        boto3's client of it.
    """

    endpoint: str
    client: Any

    def environment(self) -> dict[str, str]:
        """Return what a user sets to mean this server."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": REGION,
        }

    def put(self, folder: Path, prefix: str) -> str:
        """Copy a folder into the bucket and return its URL."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                key = f"{prefix}/{path.relative_to(folder).as_posix()}"
                self.write(key, path.read_bytes())
        return f"s3://{BUCKET}/{prefix}"

    def delete(self, key: str) -> None:
        """Remove an object."""
        self.client.delete_object(Bucket=BUCKET, Key=key)

    def write(self, key: str, content: bytes) -> None:
        """Write an object, in place of one that is there."""
        self.client.put_object(Bucket=BUCKET, Key=key, Body=content)

    def read(self, key: str) -> bytes:
        """Return an object."""
        content: bytes = self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        return content

    def keys(self, prefix: str = "") -> dict[str, int]:
        """Return the sizes of the objects under a prefix, by their names below it."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        found = [item for page in pages for item in page.get("Contents", [])]
        return {item["Key"].removeprefix(f"{prefix}/"): item["Size"] for item in found}


@contextmanager
def serving_objects() -> Iterator[ObjectStore]:
    """Start a server with a bucket."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    client = boto3.client("s3", endpoint_url=endpoint, region_name=REGION, **keys)
    client.create_bucket(Bucket=BUCKET)
    try:
        yield ObjectStore(endpoint, client)
    finally:
        client.close()
        server.stop()
