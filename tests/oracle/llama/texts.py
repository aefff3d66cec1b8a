"""Texts of many kinds for tokenizers."""

from __future__ import annotations

import random

SEED = 20240317
MIXED = 400

# User-defined pieces that both read as one token, in any text.
SEPARATORS = ("<|separator|>", "<|mask|>", *(f"<|control{number}|>" for number in range(1, 21)))
# What llama.cpp reads as special tokens when it is told to, and SentencePiece never does.
CONTROL = ("[PAD]", "[BOS]", "[EOS]", "[UNK]")

WORDS = (
    "The quick brown fox jumps over the lazy dog.",
    "It's 12:45, isn't it? Yes -- \u201cquite\u201d so; 50% of them\u2026",
    "supercalifragilisticexpialidocious antidisestablishmentarianism",
    "ALL CAPS And Mixed CaSe",
    "na\u00efve caf\u00e9 \u00fcber stra\u00dfe \u0141\u00f3d\u017a \u00fe\u00f3rr",
    "e\u0301 a\u030a n\u0303",  # letters with marks of their own
    "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440!",
    "\u0393\u03b5\u03b9\u03ac \u03c3\u03bf\u03c5",
    "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645 \u0661\u0662\u0663",
    "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd",
    "\u0928\u092e\u0938\u094d\u0924\u0947 \u0926\u0941\u0928\u093f\u092f\u093e",
    "\u4f60\u597d\uff0c\u4e16\u754c\u3002\u4eca\u5929\u662f2024\u5e743\u670817\u65e5",
    "\u3053\u3093\u306b\u3061\u306f\u3000\u30ab\u30bf\u30ab\u30ca\uff76\uff85",
    "\uc548\ub155\ud558\uc138\uc694 \u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35",
    "\U0001f600\U0001f680 \U0001f468\u200d\U0001f469\u200d\U0001f467",
    "\U0001f1eb\U0001f1f7 \u2764\ufe0f",
    "\U00020bb7\U0001d54f\U0001f9ff\U000e0041",  # beyond the first plane, some in no vocabulary
    "\u2581\u2581 a\u2581b \u2581",  # the sign that stands for a space in pieces
    "\ufb01ligature \u2460 \u00bd \u00b2 \uff21 \u00a0 \u2003 \u200b \ufeff",
)
NUMBERS = (
    "0",
    "7",
    "42",
    "1234567890",
    "3.14159 -2.718e-10 1,000,000 0x1F 1/2 10^6",
    "007 00 000 2024-03-17T12:00:00Z",
    "a1b2c3 1st 2nd x86_64 int8 H2O",
)
SPACES = (
    "",
    *(" " * count for count in (1, 2, 3, 4, 7, 8, 15, 16, 17, 18, 31, 32, 33, 40)),
    *("\n" * count for count in (1, 2, 3, 8, 9, 10, 11, 20)),
    *("\t" * count for count in (1, 2, 5, 6, 7, 13)),
    "\r\n\r\n",
    " \n \t \n",
    "\n\n  \t\tx\t \n",
    "\x0b\x0c\x85\u2028",
    "\x01\x02\x1b[0m\x7f",
)
CODE = (
    "def f(x):\n    return x ** 2  # square\n\n\nclass A:\n\tpass\n",
    "for (int i = 0; i < n; ++i) {\n\t\ta[i] += b[i] * 0.5f;\n}\r\n",
    '<div class="a b">&nbsp;</div><!-- c --><br/>',
    '{"key": [1, 2.5, null, true], "s": "\\u00e9\\n"}',
    "SELECT * FROM t WHERE a='b' AND c>=10;",
    "https://example.org/a/b?c=d&e=%20#f me@example.org",
    "$\\int_0^\\infty e^{-x^2}dx = \\frac{\\sqrt{\\pi}}{2}$",
    "| a | b |\n|---|---|\n| 1 | 2 |\n```sh\n$ ls -la\n```",
)
SPECIAL = (
    "<|separator|>",
    "<|mask|><|mask|>",
    "<|control1|> <|control20|>",
    "Human: hi<|separator|>\n\nAssistant:",
    "<|control21|> <|control|> <|separator| > <|sep",
    "<s> </s> <unk> <0x0A> <0xFF> <|endoftext|> <|im_start|>",
)
NAMED = ("[PAD]", "[BOS] a", "a[EOS]", "x [UNK] y", "[EOS][BOS]")


def texts() -> list[str]:
    """Each text, with space around it, and mixtures of all."""
    plain = [*WORDS, *NUMBERS, *CODE, *SPECIAL, *NAMED]
    framed = [frame.format(text) for text in plain for frame in (" {}", "{} ", "  {}\n")]
    return [*SPACES, *plain, *framed, *_mixed()]


def _mixed() -> list[str]:
    draw = random.Random(SEED)  # no secret: the same texts on every machine
    every = [*WORDS, *NUMBERS, *SPACES, *CODE, *SPECIAL]
    return ["".join(_bit(draw, draw.choice(every)) for _ in range(6)) for _ in range(MIXED)]


def _bit(draw: random.Random, text: str) -> str:
    start = draw.randint(0, len(text))
    return text[start : start + draw.randint(0, 24)]
