"""llama.cpp through its C interface, as the bindings give it."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Self

import llama_cpp
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

Array = np.ndarray
MOST_TOKENS = 256
ROOM = 4096  # bytes of a conversation
F32 = 0  # ggml.h: GGML_TYPE_F32
ERROR = 4  # ggml.h: GGML_LOG_LEVEL_ERROR

said: list[str] = []
"""What llama.cpp said of errors, newest last."""


@llama_cpp.llama_log_callback
def _listen(level: int, text: bytes, _user: object) -> None:
    if level == ERROR:
        said.append(text.decode(errors="replace").strip())


llama_cpp.llama_log_set(_listen, ctypes.c_void_p(0))
llama_cpp.llama_backend_init()


class Refused(Exception):  # it says what happened
    """llama.cpp does not load a file; its own words."""


class Model:
    """A loaded file, on the processor alone, keys and values kept in float32."""

    def __init__(self, path: Path) -> None:
        """Load a GGUF, or the split of which it is the first file."""
        options = llama_cpp.llama_model_default_params()
        options.n_gpu_layers = 0
        options.check_tensors = True
        said.clear()
        self._model = llama_cpp.llama_model_load_from_file(str(path).encode(), options)
        if not self._model:
            raise Refused(" ".join(said))
        self.vocab = llama_cpp.llama_model_get_vocab(self._model)
        self._context = llama_cpp.llama_init_from_model(self._model, _context_options())
        if not self._context:
            llama_cpp.llama_model_free(self._model)
            raise Refused(" ".join(said))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        llama_cpp.llama_free(self._context)
        llama_cpp.llama_model_free(self._model)

    def logits(self, tokens: Sequence[int] | Array) -> Array:
        """Logits `f32[T, vocab]` of a whole prompt."""
        self.forget()
        return self.step(tokens, 0)

    def greedy(self, prompt: Array, count: int) -> list[int]:
        """The best next tokens, one by one through the cache."""
        tokens = [int(self.logits(prompt)[-1].argmax())]
        while len(tokens) < count:
            row = self.step(tokens[-1:], len(prompt) + len(tokens) - 1)[-1]
            tokens.append(int(row.argmax()))
        return tokens

    def forget(self) -> None:
        memory = llama_cpp.llama_get_memory(self._context)
        llama_cpp.llama_memory_clear(memory, True)

    def step(self, tokens: Sequence[int] | Array, start: int) -> Array:
        """Logits of tokens that come after `start` others."""
        batch = llama_cpp.llama_batch_init(len(tokens), 0, 1)
        batch.n_tokens = len(tokens)
        for i, token in enumerate(tokens):
            batch.token[i], batch.pos[i] = int(token), start + i
            batch.n_seq_id[i], batch.seq_id[i][0], batch.logits[i] = 1, 0, 1
        failed = llama_cpp.llama_decode(self._context, batch)
        llama_cpp.llama_batch_free(batch)
        assert failed == 0, f"llama_decode gives {failed}: {said}"
        size = llama_cpp.llama_vocab_n_tokens(self.vocab)
        found = llama_cpp.llama_get_logits(self._context)
        return np.ctypeslib.as_array(found, (len(tokens), size)).copy()

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        """Token ids; `special` reads the names of special tokens in the text as those tokens."""
        data = text.encode()
        room = len(data) + 8
        found = (llama_cpp.llama_token * room)()
        count = llama_cpp.llama_tokenize(
            self.vocab,
            data,
            len(data),
            found,
            room,
            True,  # adds what the file says is to be added: nothing
            special,
        )
        assert count >= 0, text
        return list(found[:count])

    def text(self, tokens: Sequence[int]) -> bytes:
        """The text of tokens, special ones as their names."""
        room = 64 * len(tokens) + 64
        found = ctypes.create_string_buffer(room)
        own = (llama_cpp.llama_token * len(tokens))(*tokens)
        count = llama_cpp.llama_detokenize(
            self.vocab,
            own,
            len(tokens),
            found,
            room,
            False,
            True,
        )
        assert count >= 0, tokens
        return found.raw[:count]

    def spoken(self, turns: Sequence[tuple[str, str]]) -> str:
        """A conversation as text, by the template that the file holds."""
        form = llama_cpp.llama_model_chat_template(self._model, None)
        own = (llama_cpp.llama_chat_message * len(turns))(
            *(llama_cpp.llama_chat_message(role.encode(), said.encode()) for role, said in turns)
        )
        found = ctypes.create_string_buffer(ROOM)
        count = llama_cpp.llama_chat_apply_template(form, own, len(turns), True, found, ROOM)
        assert 0 <= count <= ROOM, turns
        return found.raw[:count].decode()


def _context_options() -> llama_cpp.llama_context_params:
    options = llama_cpp.llama_context_default_params()
    options.n_ctx = options.n_batch = options.n_ubatch = MOST_TOKENS
    options.n_threads = options.n_threads_batch = 1  # two would wait for each other
    options.type_k = options.type_v = F32
    options.offload_kqv = options.op_offload = False
    return options


def quantize(path: Path, out: Path, kind: int, *, embedding: int | None = None) -> None:
    """Have llama.cpp write another type, by its number in `llama_ftype`.

    Args:
        path: A GGUF.
        out: Where to write.
        kind: What most tensors become; llama.cpp gives some of them more bits.
        embedding: Instead, all matrices become of `kind`, and the embedding of this type of ggml's.
    """
    options = llama_cpp.llama_model_quantize_default_params()
    options.ftype, options.nthread = kind, 1
    if embedding is not None:
        options.pure, options.token_embedding_type = True, embedding
    said.clear()
    failed = llama_cpp.llama_model_quantize(
        str(path).encode(), str(out).encode(), ctypes.byref(options)
    )
    if failed:
        raise Refused(" ".join(said))


def refusal(path: Path) -> str | None:
    """Why llama.cpp does not load a file; None where it does."""
    try:
        with Model(path):
            return None
    except Refused as words:
        return str(words)
