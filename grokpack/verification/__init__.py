"""Verification: structure, contents and values of a checkpoint, and differences between two.

`records` says what a manifest knows, `listings` what a list of sha256 sums does; `rounds` chooses
what is read this time, `memory` knows what was read before; `reading` reads and sums, `spans` says
what a range of bytes holds, and `check` puts it all together.
"""
