"""Plan a cut, look at the plan, and carry it out with progress of one's own.

python examples/reshard_with_progress.py [FOLDER] [OUT]
"""

import sys

from grokpack import GrokpackError, Limits, execute, open_checkpoint, plan_reshard
from grokpack.core.events import Advanced, Event, Finished, Started

folder = sys.argv[1] if len(sys.argv) > 1 else "checkpoints/ckpt-0"
out = sys.argv[2] if len(sys.argv) > 2 else "ranks"


def show(event: Event) -> None:
    """Print when it begins and ends; events come from several threads."""
    if isinstance(event, Started):
        print(
            f"{event.what}: {event.total_bytes:,} bytes, {event.done_bytes:,} of them done before"
        )
    elif isinstance(event, Advanced):
        pass  # event.nbytes more are done; a bar would move here
    elif isinstance(event, Finished):
        print(f"done in {event.seconds:.1f} s")


try:
    plan = plan_reshard(open_checkpoint(folder), tp=2)
    print(f"plan {plan.digest()[:6]} writes {plan.writes_bytes:,} bytes")
    outcome = execute(plan, out, Limits(memory_bytes=256 << 20, workers=2), show)
except GrokpackError as error:
    print(error, "-", error.hint, file=sys.stderr)
    sys.exit(int(error.exit_status))
print(f"{outcome.written_bytes:,} bytes written to {outcome.out}")
