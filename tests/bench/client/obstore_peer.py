"""obstore as a peer: the same files up or down, 32 at once. It runs in a Python that has obstore.

python obstore_peer.py URL BUCKET PREFIX up|down FOLDER
"""

import asyncio
import os
import sys
from pathlib import Path

import obstore
from obstore.store import S3Store

AT_ONCE = 32


async def copy(url: str, bucket: str, prefix: str, way: str, folder: Path) -> None:
    store = S3Store(
        bucket,
        endpoint=url,
        access_key_id="bench",
        secret_access_key="bench",
        region="us-east-1",
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
    )
    folder.mkdir(exist_ok=True)
    if way == "up":
        names = [path.name for path in folder.iterdir()]
    else:
        found = obstore.list(store, prefix=prefix).collect()
        names = [item["path"].rpartition("/")[2] for item in found]
    waiting = iter(names)

    async def work() -> None:
        for name in waiting:
            if way == "up":
                await obstore.put_async(store, f"{prefix}/{name}", folder / name)
            else:
                answer = await obstore.get_async(store, f"{prefix}/{name}")
                (folder / name).write_bytes(await answer.bytes_async())

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))


if __name__ == "__main__":
    url, bucket, prefix, way, folder = sys.argv[1:]
    asyncio.run(copy(url, bucket, prefix, way, Path(folder)))
    sys.stdout.flush()
    os._exit(0)  # obstore 0.12 aborts now and then when it is taken down
