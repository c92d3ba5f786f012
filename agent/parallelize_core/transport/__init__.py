"""HTTP/1.1 for S3 and SQS on an event loop: connections, signatures, retries, deadlines.

    client       one call: signed, sent, retried, its failure translated
    ├── endpoints    where a bucket and the queues are, according to botocore
    ├── credentials  botocore's chain, renewed ahead of time and off the loop
    ├── plain        both without botocore, on a machine where nothing unusual is set
    │   └── role_keys    the keys of the machine's role
    ├── signing      Signature Version 4
    ├── retries      when to try again, and for how long
    ├── answers      what S3's and SQS's errors mean in terms of the error tree
    └── pool         persistent connections, TLS and proxies
        └── connection   one connection: a request, its response, its deadlines

Only this package knows what a socket, a certificate or a parser can raise: `client` raises only
the error tree of `parallelize_core.errors`, and MemoryError.
"""
