"""Commands whose outputs are frozen, by chapter; a chapter runs in order, in one folder.

Each begins with the synthetic checkpoint `s`. Lines that begin with `@` are done by
`tests.support.freezing`: they make inputs that no command makes.
"""

from __future__ import annotations

import re

MODEL = (
    "synth s --layers 2 --experts 8 --d-model 256 --ffn 256 --heads 16 --kv-heads 8 --head-dim 16 "
    "--vocab 512 --scale-groups 8"
)
"""Int8 and scales in eight groups, as in the release; every block size divides its widths."""

_COMMANDS = {
    "synth": """
        synth tiny
        synth uneven --layers 1 --experts 3 --d-model 96 --ffn 160 --heads 6 --kv-heads 2 \
            --head-dim 16 --vocab 100 --scale-groups 1 --seed 7
        synth holes --sparse
        synth small --preset small --sparse --dry-run
        synth medium --preset medium --sparse --dry-run
        synth real-layer --preset real-layer --sparse --dry-run
        synth grok-1 --preset grok-1 --sparse --dry-run
        """,
    "hf": """
        @tokenizer tokenizer.model
        convert s --to hf -o hf
        convert s --to hf --names sglang --dtype f16 -o hf-sglang
        convert s --to hf --names keyfan --dtype f32 -o hf-keyfan
        convert s --to hf --shard-size 2MB -o hf-shards
        convert s --to hf --tokenizer tokenizer.model -o hf-tokenizer
        convert s --to sglang -o sglang
        convert s --to sglang --tp 2 --dtype f16 --shard-size 2MB -o sglang-2
        convert s --to sglang --tp 4 --dtype f32 --tokenizer tokenizer.model -o sglang-4
        convert hf --to ckpt-0 -o from-hf --head-dim 16
        convert hf-keyfan --to gguf --type f32 --tokenizer none -o from-keyfan.gguf
        convert hf-sglang --to safetensors -o from-sglang
        """,
    "gguf": """
        @tokenizer tokenizer.model
        convert s --to gguf --type q8_0 --tokenizer none -o q8_0.gguf
        convert s --to gguf --type bf16 --tokenizer none -o bf16.gguf
        convert s --to gguf --type f16 --embedding f16 --tokenizer none -o f16.gguf
        convert s --to gguf --type f32 --tokenizer none -o f32.gguf
        convert s --to gguf --type q8_0 --embedding f32 --tokenizer tokenizer.model -o vocab.gguf
        convert s --to gguf --type q8_0 --split 2MB --tokenizer none -o split
        convert q8_0.gguf --to safetensors -o from-gguf
        convert q8_0.gguf --to ckpt-0 --tp 8 -o from-gguf-8
        convert bf16.gguf --to hf --dtype f32 -o from-bf16
        """,
    "grok-2": """
        synth g --model grok-2 --layers 2
        reshard g --to sglang --tp 4 -o g-4
        reshard g-4 --to safetensors --tp 2 -o g-ranks
        convert g --to hf -o g-hf
        convert g --to gguf --type bf16 -o g.gguf
        quantize g --bits 8 --for sglang --tp 4 -o g-int8
        quantize g-hf --to gguf --type q4_0 -o g-q4_0.gguf
        """,
    "fp8": """
        synth g --model grok-2 --layers 1
        quantize s --to fp8 -o blocks
        quantize s --to fp8 --method mse --keep attention -o searched
        quantize s --to fp8 --group channel --for sglang --tp 2 -o outputs-2
        quantize g --to fp8 --names sglang -o g-blocks
        convert blocks --to hf -o bf16
        convert outputs-2 --to gguf --type f32 --tokenizer none -o outputs.gguf
        quantize blocks --to gguf --type q8_0 --bits 8 --tokenizer none -o q8_0.gguf
        inspect blocks --report inspect.json
        verify outputs-2 --values --report verify.json
        diff s blocks --report diff.json
        quantize s --to fp8 --tp 8 -o refused
        """,
    "stores": """
        convert s --to safetensors -o safetensors
        convert s --to safetensors --tp 4 -o safetensors-4
        convert s --to ckpt-0 -o ckpt
        convert s --to ckpt-0 --tp 2 -o ckpt-2
        convert s --to zarr -o zarr
        convert s --to zarr --dtype bf16 --tp 4 --shard-size 1MiB -o zarr-bf16
        convert s --to zarr --compress zstd -o zarr-zstd
        convert s --to orbax -o orbax
        convert s --to orbax --dtype bf16 --tp 2 -o orbax-bf16
        convert s --to orbax --compress zstd --shard-size 1MiB -o orbax-zstd
        convert s --to archive -o archive
        convert s --to files -o files
        convert s --to view
        convert zarr --to safetensors -o from-zarr
        convert zarr-zstd --to ckpt-0 -o from-zarr-zstd
        convert orbax-bf16 --to hf -o from-orbax --head-dim 16
        convert orbax-zstd --to ckpt-0 -o from-orbax-zstd
        convert archive --to files -o from-archive
        """,
    "reshard": """
        reshard s --tp 1 -o tp1
        reshard s --tp 2 -o tp2
        reshard s --tp 2 --to sglang -o sglang-2
        reshard s -o tp8
        reshard s --tp 4 --scales expanded -o tp4-expanded
        reshard s --tp 2 --to ckpt-0 -o ckpt-2
        reshard s --tp 4 --to ckpt-0 --scales bf16-weights -o ckpt-4
        reshard s --to ckpt-0 --hosts 2 -o hosts
        reshard s --tp 16 --to ckpt-0 --forward-only -o ckpt-16
        reshard tp2 --tp 8 --to ckpt-0 -o back
        reshard hosts --tp 4 -o from-hosts
        reshard ckpt-4 --tp 1 -o from-weights
        reshard s --tp 4 -o parts --part 2/2
        reshard s --tp 4 -o parts --part 1/2
        reshard s --tp 4 -o parts
        reshard s --tp 4 -o dry --dry-run
        reshard s --tp 4 -o other --part 1/3 --dry-run
        """,
    "quantize": """
        @tokenizer tokenizer.model
        @cheap cheap.toml
        quantize s -o int4
        quantize s --group 32 --method rtn --scale-dtype f16 -o int4-rtn
        quantize s --group 64 --method lsq --scale-dtype f32 --asymmetric --policy cheap.toml \
            -o int4-lsq
        quantize s --group channel --names sglang --keep attention -o int4-kept --method rtn
        quantize s --bits 8 --to compressed-tensors --group 256 --method mse --keep experts -o int8
        quantize s --bits 8 -o gptq-8
        quantize s --to gptq --names keyfan --shard-size 1MB --policy cheap.toml -o gptq-4
        quantize s --bits 8 --to w8a8-int8 -o w8a8
        quantize s --bits 8 --for sglang --tp 8 --tokenizer tokenizer.model -o for-sglang
        quantize s --for vllm --method rtn -o for-vllm
        quantize s --for transformers --policy cheap.toml -o for-transformers
        quantize s --bits 8 --to ckpt-0 --tp 2 -o ckpt
        quantize s --to safetensors --asymmetric --policy cheap.toml -o plain
        quantize s --bits 8 --to safetensors --method rtn -o plain-8
        """,
    "four-bit-floats": """
        quantize s --to mxfp4 -o mxfp4
        quantize s --to nvfp4 --names sglang --keep key -o nvfp4
        quantize s --to nvfp4 --method rtn --shard-size 1MB -o nvfp4-rtn
        quantize s --to gguf --type mxfp4 --tokenizer none -o mxfp4.gguf
        quantize s --to gguf --type mxfp4 --method rtn --embedding bf16 --tokenizer none -o rtn.gguf
        convert mxfp4.gguf --to hf --dtype f32 -o from-gguf
        convert mxfp4 --to safetensors -o from-mxfp4
        convert nvfp4-rtn --to hf --dtype f32 -o from-nvfp4
        """,
    "gguf-types": """
        quantize s --to gguf --type q2_k --tokenizer none -o q2_k.gguf
        quantize s --to gguf --type q3_k --tokenizer none -o q3_k.gguf
        quantize s --to gguf --type q3_k_s --tokenizer none -o q3_k_s.gguf
        quantize s --to gguf --type q3_k_m --tokenizer none -o q3_k_m.gguf
        quantize s --to gguf --type q3_k_l --tokenizer none -o q3_k_l.gguf
        quantize s --to gguf --type iq4_nl --tokenizer none -o iq4_nl.gguf
        quantize s --to gguf --type iq4_xs --tokenizer none -o iq4_xs.gguf
        quantize s --to gguf --type q4_k_s --tokenizer none -o q4_k_s.gguf
        quantize s --to gguf --type q4_k_m --tokenizer none -o q4_k_m.gguf
        quantize s --to gguf --type q5_0 --tokenizer none -o q5_0.gguf
        quantize s --to gguf --type q5_1 --tokenizer none -o q5_1.gguf
        quantize s --bits 5 --to gguf --tokenizer none -o q5_k.gguf
        quantize s --to gguf --type q5_k --keep attention --tokenizer none -o q5_k-kept.gguf
        quantize s --to gguf --type q5_k_s --tokenizer none -o q5_k_s.gguf
        quantize s --to gguf --type q5_k_m --tokenizer none -o q5_k_m.gguf
        quantize s --to gguf --type q6_k --tokenizer none -o q6_k.gguf
        convert q4_k_m.gguf --to safetensors -o from-q4_k_m
        """,
    "quantize-more": """
        @policy policy.toml
        @cheap cheap.toml
        @tokens tokens.npy
        convert s --to hf -o hf
        evaluate s --tokens tokens.npy --calibrate measured.safetensors
        @calibration measured.safetensors calibration.safetensors
        quantize s --policy policy.toml -o policy
        quantize s --importance calibration.safetensors --policy cheap.toml -o weighed
        quantize s --importance calibration.safetensors --method lsq --policy cheap.toml \
            --to gguf --type q4_1 --tokenizer none -o weighed.gguf
        quantize s --to gguf --policy cheap.toml --tokenizer none -o q4_0.gguf
        quantize s --to gguf --type q4_0 --method rtn --tokenizer none -o q4_0-rtn.gguf
        quantize s --to gguf --type q4_k --policy cheap.toml --tokenizer none -o q4_k.gguf
        quantize s --bits 8 --to gguf --type q8_0 --embedding f32 --tokenizer none -o q8_0.gguf
        quantize s --for llama.cpp --policy cheap.toml --tokenizer none \
            --shard-size 1MB -o for-llama
        quantize hf --method rtn -o from-hf --head-dim 16
        convert q4_k.gguf --to safetensors -o from-q4_k
        """,
    "records": """
        @bare s/ckpt-0 bare
        manifest bare --sha256
        manifest bare -o beside.json
        inspect s in_out_embed --extract embedding.npy
        inspect s experts --extract experts.safetensors
        inspect s decoder_layer_1 --extract layer.safetensors
        """,
    "read": """
        convert s --to gguf --type q8_0 --tokenizer none -o q8.gguf
        convert s --to hf -o hf
        quantize s --bits 8 -o gptq
        quantize s --method rtn -o int4
        reshard s --tp 2 -o tp2
        convert s --to zarr -o zarr
        convert s --to orbax -o orbax
        convert s --to archive -o archive
        @damage s/ckpt-0 damaged
        @bare s/ckpt-0 bare
        @sums bare sums.txt
        """,
    "network": """
        @tokens tokens.npy
        @prompts prompts.npy
        convert s --to gguf --type f32 --tokenizer none -o f32.gguf
        quantize s --method rtn -o int4
        """,
    "refusals": """
        @bare s/ckpt-0 bare
        @damage s/ckpt-0 damaged
        @unsafe s/ckpt-0 unsafe
        """,
}

_EVERY_FORM = """
    verify s --data
    verify bare --against sums.txt
    verify damaged --values
    """
_PAGES = """
    inspect s --stats
    evaluate s --tokens tokens.npy --against int4
    """
_READING = """
    verify s
    verify s --values
    verify damaged
    verify tp2 --source s
    verify gptq
    verify hf --data
    verify q8.gguf --values
    verify s --data --subset 1/2
    verify zarr --data
    verify orbax
    verify archive --data
    inspect s
    inspect s --tree
    inspect s --offsets
    inspect s attention
    inspect s decoder_layer_0 --stats
    inspect q8.gguf --tree
    inspect hf --head-dim 16
    inspect gptq --tree
    inspect int4 --stats
    inspect tp2 --offsets
    inspect zarr --tree
    inspect orbax --tree
    inspect archive
    inspect damaged
    diff s q8.gguf
    diff s int4
    diff s int4 --max-error 0.2
    diff s hf --head-dim 16
    diff tp2 orbax
    """
_TEXT = """
    explain
    explain GP204
    help
    help exit-codes
    help environment
    help formatting
    """
_NETWORK = """
    evaluate s --tokens tokens.npy
    evaluate s --tokens tokens.npy --context 8 --max-tokens 12 --layers 1 --precision bf16
    evaluate s --tokens tokens.npy --against f32.gguf
    evaluate s --tokens tokens.npy --against int4 --max-kl 1 --min-top1 0
    generate s --tokens prompts.npy --max-new-tokens 2
    generate s --tokens prompts.npy --max-new-tokens 2 --temperature 1 --top-p 0.9 --seed 3
    """
_REFUSALS = """
    verify
    verify nowhere
    verify unsafe
    verify s --max-age soon
    verify bare --data
    inspect s nothing-of-this-name
    reshard s --tp 3 -o out
    reshard s --tp 16 -o out
    reshard s --tp 4 --memory 1MB -o out
    reshard s -o bare
    reshard damaged -o out
    quantize s --bits 7 -o out
    quantize s --group 17 -o out
    quantize s --for llama.cpp --to gptq -o out
    quantize s --policy nowhere.toml -o out
    convert s -o out
    convert s --to hf --type q8_0 -o out
    convert s --to gguf --type q8_0 -o out.gguf
    diff s nowhere
    evaluate s
    generate s --prompt text
    explain GP000
    manifest nowhere
    synth s
    synth s --seed 5
    synth out --heads 7 --kv-heads 2
    synth out --preset huge
    verify s --nothing
    """


def _lines(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.strip().splitlines()]


def _forms(command: str, forms: tuple[str, ...]) -> list[str]:
    """A reading command in each of some forms; `json` comes beside the text."""
    name = re.sub(r"[^a-z0-9.]+", "-", command)
    ways = {
        "json": f"--format text --report {name}.json",
        "html": f"--format text --report {name}.html",
        "github": "--format github",
        "junit": "--format junit",
    }
    return [f"{command} {ways[form]}" for form in forms]


def chapters() -> dict[str, list[str]]:
    """Every command, by chapter, in order."""
    found = {name: ["@model s", *_lines(text)] for name, text in _COMMANDS.items()}
    found["synth"][0] = MODEL
    for command in _lines(_EVERY_FORM):
        found["read"] += _forms(command, ("json", "html", "github", "junit"))
    for command in _lines(_READING):
        found["read"] += _forms(command, ("json",))
    for command in _lines(_NETWORK):
        found["network"] += _forms(command, ("json",))
    for command in _lines(_PAGES):
        chapter = "network" if command.startswith("evaluate") else "read"
        found[chapter] += _forms(command, ("html",))
    found["read"] += _lines(_TEXT)
    found["refusals"] += _lines(_REFUSALS)
    return found
