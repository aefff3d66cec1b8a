"""Sources behind URLs: byte ranges over HTTP, from servers, buckets and Hugging Face.

TensorStore's drivers for servers are not used: they follow no redirects, report no size, accept no
condition on the tag and hide the server's response; see `docs/explanation/remote.md`.
"""
