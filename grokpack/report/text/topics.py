"""Texts of `grokpack help TOPIC`."""

from __future__ import annotations

ENVIRONMENT = (
    ("GROKPACK_CHECKPOINT", "the checkpoint, where SRC is left out"),
    ("GROKPACK_MEMORY", "--memory: resident memory that a run keeps to"),
    ("GROKPACK_NETWORK_MEMORY", "--memory of evaluate and generate; 2GiB by default"),
    ("GROKPACK_WORKERS", "--workers: threads, or dask://HOST:PORT"),
    ("GROKPACK_FORMAT", "--format: auto, text, json, github or junit"),
    ("GROKPACK_PROGRESS", "--progress: auto, bar, lines, json or none"),
    ("GROKPACK_COLOR", "--color: auto, always or never"),
    ("GROKPACK_KERNELS", "numpy, numba or auto: what counts and converts values (same results)"),
    (
        "GROKPACK_S3_ENDPOINT",
        "URL of a server with S3's protocol; else AWS_ENDPOINT_URL, or the profile's",
    ),
    (
        "GROKPACK_GS_ENDPOINT",
        "URL in place of Google Cloud Storage's; else STORAGE_EMULATOR_HOST, which gets no token",
    ),
    ("GROKPACK_ANONYMOUS", "set to anything: no keys or tokens are sent to buckets and the hub"),
    ("GROKPACK_HTTP_RETRIES", "attempts after the first, where a server fails; 7 by default"),
    ("GROKPACK_HTTP_SILENCE", "seconds without a byte that end an attempt; 30 by default"),
    ("AWS_ACCESS_KEY_ID", "signs requests to s3://, with AWS_SECRET_ACCESS_KEY"),
    ("AWS_SESSION_TOKEN", "goes with temporary keys"),
    (
        "AWS_PROFILE",
        "profile of ~/.aws: keys or role, region, endpoint; the one named default otherwise",
    ),
    ("AWS_REGION", "where the bucket is; else AWS_DEFAULT_REGION, the profile's, or what S3 says"),
    (
        "GOOGLE_APPLICATION_CREDENTIALS",
        "file of the account that asks gs://; else that of `gcloud auth application-default login`",
    ),
    ("GOOGLE_OAUTH_ACCESS_TOKEN", "token sent to gs:// in place of an account's"),
    ("HF_ENDPOINT", "URL of a mirror of Hugging Face, for hf://"),
    ("HF_TOKEN", "token sent to hf://; else the one that `hf auth login` stored"),
    ("HF_HUB_OFFLINE", "1: no hf:// is read or written; else TRANSFORMERS_OFFLINE"),
    ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1: no token is sent to hf://"),
    ("HF_HUB_DISABLE_XET", "0: -o hf:// sends over Xet, with memory of its own, and not over LFS"),
    ("https_proxy", "proxy for https://; http_proxy for http://; else all_proxy"),
    ("no_proxy", "hosts, domains and networks that are reached without a proxy; * for all"),
    ("SSL_CERT_FILE", "certificates to trust, or SSL_CERT_DIR; else those of REQUESTS_CA_BUNDLE"),
    ("SOURCE_DATE_EPOCH", "seconds since 1970, which pages of --report show as their time"),
    ("NO_COLOR", "set to anything: no colour, where --color is auto"),
    ("FORCE_COLOR", "set to anything: colour also in pipes, where --color is auto"),
    ("TERM", "dumb: no colour"),
    (
        "XDG_CACHE_HOME",
        "where compiled kernels and reports of bugs are kept, in its grokpack folder",
    ),
)

TOPICS = {
    "exit-codes": """\
0    done; or verified, and nothing wrong was found
1    the answer is no: damage, mismatch
2    usage: options wrong, or impossible for this model
3    the source cannot be used: missing, incomplete, unknown format
4    refused for safety: a pickle names something that no array needs
5    the target was refused: disk, memory, other files in the folder, in use; standard output full
70   a bug in grokpack
75   stopped cleanly at --max-duration, or by a server that does not deliver; run again to continue
130  interrupted (143: terminated); run again to continue
141  nobody reads standard output any more (as of a program that SIGPIPE ends); the work is done
any other status means failure""",
    "environment": "\n".join(f"{name:<25}  {meaning}" for name, meaning in ENVIRONMENT),
    "formatting": """\
stdout has the result and nothing else; stderr has the plan, progress, hints and errors
--json puts exactly one document on stdout, on failure too:
  schema, tool, status, exit_code, data, findings, errors
sizes are decimal (1 GB = 10^9 bytes) in text and exact bytes in JSON
  `grokpack explain --schema COMMAND` prints the JSON Schema that it keeps to
--format github prints workflow commands, and a table to $GITHUB_STEP_SUMMARY; junit prints XML
--report FILE.json or FILE.html writes the answer to a file as well, on failure too
--progress bar|lines|json|none is independent of --format
--color auto colours the first word of a line, on terminals only; no meaning is in colour alone""",
}
