"""Bare boto3 as a peer: messages of a job's length in tens, by 8 threads.

python boto3_peer.py QUEUE_URL COUNT
"""

import sys
from concurrent.futures import ThreadPoolExecutor

import boto3
from botocore.config import Config

THREADS = 8


def main() -> None:
    url, count = sys.argv[1], int(sys.argv[2])
    sqs = boto3.client("sqs", config=Config(max_pool_connections=THREADS))

    def send(start: int) -> None:
        bodies = [f'{{"v":1,"key":"inputs/{n:08}.bin","rest":"{"x" * 150}"}}'
                  for n in range(start, min(start + 10, count))]  # fmt: skip
        sqs.send_message_batch(
            QueueUrl=url,
            Entries=[{"Id": str(place), "MessageBody": body} for place, body in enumerate(bodies)],
        )

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(send, range(0, count, 10)))


if __name__ == "__main__":
    main()
