"""What hostile pickles call: it leaves a trace."""

SONGS: list[object] = []


def sing(*words: object) -> None:
    SONGS.append(words)
