"""Codes of errors in a source: GP2xx."""

from __future__ import annotations

from grokpack.core.error_codes.code import Code
from grokpack.core.exit_status import ExitStatus

SOURCES = (
    Code(
        "GP201",
        "no checkpoint found",
        ExitStatus.SOURCE,
        "None of the places that grokpack looks at holds a checkpoint.",
        "Name the folder, or set GROKPACK_CHECKPOINT.",
    ),
    Code(
        "GP202",
        "checkpoint is incomplete",
        ExitStatus.SOURCE,
        "Files are missing or unusable, and this command needs all of them.",
        "Run `grokpack verify` on it: it names the files and the command that fetches them.",
    ),
    Code(
        "GP203",
        "unknown format",
        ExitStatus.SOURCE,
        "The folder holds files, but none of the formats that grokpack reads.",
        "See docs/reference/formats.md for what can be read.",
    ),
    Code(
        "GP204",
        "refused a pickle that names more than arrays",
        ExitStatus.UNSAFE,
        "The file asks Python to import or call something that no array needs. Nothing was run.",
        "Do not open it with anything else. Compare where it came from with the published files.",
    ),
    Code(
        "GP205",
        "refused a pickle beyond all limits",
        ExitStatus.UNSAFE,
        "More opcodes, nesting, memo entries or string bytes than any tensor header has.",
        "Treat the file as hostile; fetch it again from the published source.",
    ),
    Code(
        "GP206",
        "pickle protocol that cannot be streamed",
        ExitStatus.SOURCE,
        "Protocols 0 to 2 transcode the payload to text, so it has no byte range to read.",
        "Load it where it was made and save it again with protocol 4.",
    ),
    Code(
        "GP207",
        "pickle holds jax arrays",
        ExitStatus.SOURCE,
        "Only numpy arrays are laid out as plain bytes.",
        "Where it was made, save `numpy.asarray(x)` instead of `x`.",
    ),
    Code(
        "GP208",
        "array layout is not supported",
        ExitStatus.SOURCE,
        "Fortran order, big-endian, a dtype outside int8, bfloat16, float16 and float32, or packed "
        "weights in a form that is not read.",
        "Save it in C order, little-endian, with one of these dtypes; a message about packed "
        "weights says which setting it is about.",
    ),
    Code(
        "GP209",
        "header cannot be read",
        ExitStatus.SOURCE,
        "The header breaks off, contradicts itself or does not begin as its format does.",
        "Fetch the file again; `grokpack verify` checks all of them.",
    ),
    Code(
        "GP210",
        "tensors are not those of a known model family",
        ExitStatus.SOURCE,
        "Names, number, shapes or dtypes fit no family that grokpack knows, at any size.",
        "Run `grokpack verify`: it says which file does not fit.",
    ),
    Code(
        "GP211",
        "head size is not known",
        ExitStatus.SOURCE,
        "Shapes do not tell the size of an attention head, and no config.json does.",
        "Give `--head-dim`, or put a config.json with `key_size` beside the checkpoint.",
    ),
    Code(
        "GP212",
        "output of an unfinished run",
        ExitStatus.SOURCE,
        "The folder belongs to a run that has not been completed.",
        "Run the command that began it once more; it continues.",
    ),
    Code(
        "GP213",
        "source changed during the run",
        ExitStatus.SOURCE,
        "A source file is not the one the run began with; its output would be a mixture.",
        "Restore the source, or begin anew with `--restart`.",
    ),
    Code(
        "GP214",
        "source cannot be read",
        ExitStatus.SOURCE,
        "The operating system refused to open or read a file, or a server has none of that name: "
        "permissions of the file or of a folder above it, a link that leads nowhere, an error of "
        "the disk. Nothing is known of what the file holds.",
        "Check permissions, links, mounts and the disk's health.",
    ),
    Code(
        "GP215",
        "scales do not collapse to groups",
        ExitStatus.SOURCE,
        "Rows of one scale group differ, so that the group has no single scale.",
        "Keep the rows with `--scales expanded`.",
    ),
    Code(
        "GP216",
        "no tensor matches",
        ExitStatus.USAGE,
        "No tensor of this checkpoint has that name or fits that pattern.",
        "List them with `grokpack inspect --tree`.",
    ),
    Code(
        "GP217",
        "tensor names follow no convention",
        ExitStatus.SOURCE,
        "Tensor names are read in the conventions of the model families that grokpack knows. Most "
        "names of this folder are in none of them, or in more than one.",
        "Rename them to a convention of docs/reference/formats.md; the message lists the nearest.",
    ),
    Code(
        "GP218",
        "output head differs from the embedding",
        ExitStatus.SOURCE,
        "The model's family ties the output head to the embedding. This source stores a head with "
        "other values, which no tied format can hold.",
        "Take the original checkpoint; a changed head belongs to another model.",
    ),
    Code(
        "GP219",
        "GGUF file that grokpack does not read",
        ExitStatus.SOURCE,
        "It is of another architecture or version, big-endian, no model at all, or holds types "
        "other than F32, F16, BF16, Q8_0, Q4_0, Q4_1 and Q4_K.",
        "Convert the original checkpoint instead.",
    ),
    Code(
        "GP220",
        "weights are PyTorch pickles",
        ExitStatus.SOURCE,
        "The folder holds `.bin`, `.pt` or `.pth` files only. To load a pickle is to run what it "
        "names, and these hold no tensors that can be read in place otherwise.",
        "Take a copy in safetensors, or start from xAI's release, as the hint says.",
    ),
    Code(
        "GP221",
        "server does not deliver",
        ExitStatus.TRY_AGAIN,
        "A server, or a bucket or hub that is written to, could not be reached, broke off, fell "
        "silent or answered that it is busy, each time that it was asked. What was finished before "
        "is kept.",
        "See that the server can be reached, and run the same command again; it continues.",
    ),
    Code(
        "GP222",
        "access is refused",
        ExitStatus.SOURCE,
        "The server wants to know who asks (status 401 or 403), and nothing was sent that it "
        "accepts: no key or token, one that has expired, or one that may not read this. Public "
        "buckets are read without keys.",
        "Give the keys or the token that the hint names; `grokpack help environment` has them all.",
    ),
    Code(
        "GP223",
        "server does not answer as asked",
        ExitStatus.SOURCE,
        "The answer is not the range that was asked for: the server serves whole files only, sends "
        "a page in place of a file, or says one thing and sends another. Nothing of it was used.",
        "Take a server that serves byte ranges, or fetch the files first.",
    ),
    Code(
        "GP224",
        "URL cannot be used",
        ExitStatus.USAGE,
        "Its scheme is not known, or it holds what does not belong to a folder's or a file's "
        "address: a query, a fragment, a user's name.",
        "Give a URL such as https://host/folder, s3://bucket/folder or hf://owner/name.",
    ),
    Code(
        "GP227",
        "compressed file is damaged",
        ExitStatus.SOURCE,
        "A frame does not have the size or the checksum that it should, or the table of frames "
        "contradicts the file.",
        "Fetch the file again, or make the archive again; `verify --values` reads every frame.",
    ),
    Code(
        "GP228",
        "compressed file without a table of frames",
        ExitStatus.SOURCE,
        "Files that end in `.zst` are read in place where a table says which frame holds what. "
        "This one was cut short, or compressed by a program that writes no table.",
        "Decompress it with `zstd -d`; `convert --to archive` makes one that is read in place.",
    ),
    Code(
        "GP225",
        "chunk cannot be read",
        ExitStatus.SOURCE,
        "A chunk of a zarr or Orbax store is missing, has another checksum than its store "
        "recorded, or cannot be decompressed.",
        "`grokpack verify --values` finds all that are wrong; fetch or write these files again. "
        "Stores that leave chunks of zeros out have to be written with all chunks.",
    ),
    Code(
        "GP226",
        "view of files that changed",
        ExitStatus.SOURCE,
        "The files that a view points at are gone, or not those that it was made of. TensorStore "
        "would read their bytes all the same.",
        "Restore the files, or make the view anew: `grokpack convert SRC --to view --restart`.",
    ),
    Code(
        "GP229",
        "no checksums to compare with",
        ExitStatus.SOURCE,
        "`verify --data` compares with a manifest, and this checkpoint has none. What grokpack "
        "writes has one; a download has not.",
        "Compare with sums that its publisher gives: `--against FILE`. To find later damage, "
        "record what is there now: `grokpack manifest SRC`.",
    ),
    Code(
        "GP230",
        "not a list of this checkpoint's checksums",
        ExitStatus.SOURCE,
        "`--against` takes a grokpack manifest, or lines as `sha256sum` writes them, that name the "
        "checkpoint's files.",
        "Name the right file. Names may begin at the checkpoint's folder or above it.",
    ),
    Code(
        "GP231",
        "plan cannot be made again",
        ExitStatus.SOURCE,
        "The manifest has no plan that reads a source, or not all that it depended on: a policy, a "
        "calibration, a tokenizer, another version of grokpack; or the files are compressed.",
        "`grokpack diff SRC OUT` compares the weights themselves.",
    ),
    Code(
        "GP232",
        "output was made from another source",
        ExitStatus.SOURCE,
        "The manifest names the source by a digest of its headers, and this one has another.",
        "Name the source that it was made from, wherever it lies now.",
    ),
    Code(
        "GP233",
        "another file lies in its place",
        ExitStatus.SOURCE,
        "Under the name of a weight file lies a pointer of Git LFS or git-annex, a web page, an "
        "archive, a file of another format, or nothing at all.",
        "Do what the message says: fetch the file itself, or unpack it.",
    ),
    Code(
        "GP234",
        "quantization settings contradict each other",
        ExitStatus.SOURCE,
        "The places where tools keep the settings of packed weights say different things, or "
        "something else than the arrays show: what the codes mean is not known.",
        "Correct or remove the setting that is wrong; the message names the places and the values.",
    ),
    Code(
        "GP235",
        "input is beyond what is read",
        ExitStatus.SOURCE,
        "A file, or what a server answered, is larger, or has more entries, than any of a "
        "checkpoint. It was refused before its contents could take memory or time.",
        "See that it is the file that was meant, and where it came from; the message says the "
        "limit.",
    ),
    Code(
        "GP237",
        "input is no regular file",
        ExitStatus.SOURCE,
        "A folder, a pipe, a socket or a device lies where a file should. Files are read at any "
        "place, and their sizes believed, which those do not allow; reading from them might never "
        "end.",
        "Name a file. Of what a program prints, as in `<(...)`, make a file first.",
    ),
    Code(
        "GP240",
        "chunks too large for the memory",
        ExitStatus.SOURCE,
        "A chunk of a zarr or Orbax store has to be decoded whole, and is more than the memory "
        "that the command keeps to. A few kilobytes can claim gigabytes.",
        "Where you trust the store, copy it into smaller chunks: `grokpack convert --to zarr` with "
        "a larger `--memory`.",
    ),
    Code(
        "GP242",
        "tokenizer is broken",
        ExitStatus.SOURCE,
        "tokenizer.model is no SentencePiece model, or tokenizer.tok.json no list of byte pairs; "
        "or it contradicts itself: pieces or ids that are there twice, empty or missing, scores "
        "that are no numbers, a map that leads nowhere. What was made with it would cut texts into "
        "other tokens, or fail to load.",
        "Fetch the file again; `--tokenizer none` does without one.",
    ),
    Code(
        "GP243",
        "server cannot be reached like this",
        ExitStatus.SOURCE,
        "Its name does not resolve, its certificate is not trusted, a proxy refuses, or "
        "HF_HUB_OFFLINE forbids it: asking again would change nothing.",
        "Do what the hint says: correct the address, name the certificate that you trust, give the "
        "proxy a user and a password, or unset HF_HUB_OFFLINE.",
    ),
)
