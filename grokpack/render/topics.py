"""The texts of `grokpack help TOPIC`."""

from __future__ import annotations

TOPICS = {
    "exit-codes": """\
0    done; or verified and whole
1    the answer is no: damage, mismatch
2    usage: options wrong, or impossible for this model
3    the source cannot be used: missing, incomplete, unknown format
4    refused for safety: a pickle names something that no array needs
5    the target was refused: disk, memory, other files in the folder, in use
70   a bug in grokpack; the message names the report
75   stopped cleanly at --max-duration; run again to continue
130  interrupted (143: terminated); run again to continue
any other status means failure""",
    "environment": """\
GROKPACK_CHECKPOINT  the checkpoint, where SRC is left out
GROKPACK_MEMORY      --memory
GROKPACK_WORKERS     --workers
GROKPACK_FORMAT      --format
GROKPACK_PROGRESS    --progress
GROKPACK_COLOR       --color
GROKPACK_KERNELS     numpy, numba or auto: what counts and converts values (same results)
NO_COLOR, FORCE_COLOR are heeded""",
    "formatting": """\
stdout has the result and nothing else; stderr has the plan, progress, hints and errors
--json puts exactly one document on stdout, on failure too:
  schema, tool, status, exit_code, data, findings, errors
sizes are decimal (1 GB = 10^9 bytes) in text and exact bytes in JSON
--progress bar|lines|json|none is independent of --format""",
}
