"""Conversations as text, and as the template from which engines make the same text."""

from __future__ import annotations

import jinja2

from grokpack.models.grok2 import GROK2

CHAT = GROK2.tokenizer.chat
SGLANG = r"""
{% for message in messages %}{% if message['role'] == 'user' %}
{{ 'Human: ' + message['content'].strip() + '<|separator|>\n\n' }}
{% elif message['role'] == 'system' %}
{{ 'System: ' + message['content'].strip() + '<|separator|>\n\n' }}
{% elif message['role'] == 'assistant' %}
{{ 'Assistant: '  + message['content'] + '<|separator|>\n\n' }}
{% endif %}{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}
""".replace("\n", "")
"""Chat template of SGLang's tiktoken_tokenizer.py, by whose letters llama.cpp knows it."""
TURNS = [
    ("system", " You keep the light.\n"),
    ("user", "Will it rain?"),
    ("assistant", " Yes. "),
    ("user", "\tAnd then? "),
]


def test_turns_are_named_and_ended_as_the_engines_have_them() -> None:
    assert CHAT is not None
    assert CHAT.text(TURNS) == (
        "System: You keep the light.<|separator|>\n\nHuman: Will it rain?<|separator|>\n\n"
        "Assistant:  Yes. <|separator|>\n\nHuman: And then?<|separator|>\n\nAssistant:"
    )


def test_the_template_is_the_engines_and_makes_the_same_text() -> None:
    assert CHAT is not None
    assert CHAT.template() == SGLANG
    messages = [{"role": role, "content": words} for role, words in TURNS]
    made = jinja2.Template(CHAT.template()).render(messages=messages, add_generation_prompt=True)
    assert made == CHAT.text(TURNS)
