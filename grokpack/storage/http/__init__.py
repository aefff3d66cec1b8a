"""Sources behind URLs: byte ranges over HTTP, from servers, buckets and Hugging Face.

    medium     what `storage.reading` asks of a medium
    files      what is known of each file: size, tag, and its first kilobytes
    shelf      spans of files that are read in strips, kept on disk
    sites      what each scheme is called, signed and listed like
    exchange   one range, checked byte for byte, with retries
    wire       connections, kept open
    flights    requests on threads that the waiting one can leave

TensorStore's drivers are not used here: in Python they tell no size, take no condition on the tag,
and hide what a server did; see `docs/explanation/remote.md`.
"""
