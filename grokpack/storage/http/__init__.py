"""Sources behind URLs: byte ranges over HTTP, from servers, buckets and Hugging Face.

    http_backend       the backend that `storage.reading` uses
    file_info          size, tag and first kilobytes of each file
    block_cache        blocks of files that are read in strips, cached on disk
    services           URL, signature and listing of each scheme
    range_requests     one range, checked byte for byte, with retries
    redirects          one request, followed to the server that has the file
    connections        connections of urllib3, kept open
    request_threads    requests on threads that the waiting one can abandon

TensorStore's drivers are not used here: in Python they report no size, accept no condition on the
tag and hide the server's response; see `docs/explanation/remote.md`.
"""
