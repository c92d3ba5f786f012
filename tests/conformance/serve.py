"""Starts LocalStack, with an S3 that keeps an object while a write over it comes in.

LocalStack empties the object first and then reads the request, which it cannot when the sender has
died meanwhile: then the object has its old length and no content, and no reader comes to its end.
S3 "never adds partial objects": https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html
"""

from __future__ import annotations

import runpy
import tempfile
from typing import IO

from localstack.services.s3.constants import S3_CHUNK_SIZE
from localstack.services.s3.storage.ephemeral import EphemeralS3StoredObject

write = EphemeralS3StoredObject.write


def write_when_whole(place: EphemeralS3StoredObject, stream: IO[bytes] | None) -> int:
    """Read the request to its end, which raises if the sender has died, and write then."""
    with tempfile.SpooledTemporaryFile(max_size=S3_CHUNK_SIZE) as whole:
        while stream and (data := stream.read(S3_CHUNK_SIZE)):
            whole.write(data)
        whole.seek(0)
        return write(place, whole)


EphemeralS3StoredObject.write = write_when_whole
runpy.run_module("localstack.runtime.main", run_name="__main__")
