"""Make a page of every command and photograph it: light and dark, on a phone, a desk and paper.

`make screenshots` runs this in an environment that has playwright, and leaves pages and pictures in
build/screenshots. The browser is the machine's own: what CHROMIUM names, or the first one found.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from playwright.sync_api import Browser

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
WIDTHS = (400, 1200)  # CSS pixels: a phone, a desk
SCHEMES = ("light", "dark")
INPUTS = ("synth model --layers 24", "synth damaged --layers 6")
PAGES = {
    "synth": "synth other --layers 2 --seed 1",
    "inspect": "inspect model",
    "statistics": "inspect model --stats",
    "fit": "inspect model --fit 8x80GB",
    "verify": "verify model --values",
    "damaged": "verify damaged",
    "failed": "verify nowhere",
    "manifest": "manifest model -o sums.json",
    "dry-run": "reshard model --tp 2 -o model-tp2 --dry-run",
    "reshard": "reshard model --tp 2 -o model-tp2",
    "convert": "convert model --to hf -o model-hf",
    "quantize": "quantize model --bits 4 -o model-int4",
    "diff": "diff model model-int4",
    "evaluate": "evaluate model --tokens tokens.npy",
    "evaluate-pair": "evaluate model --against model-int4 --tokens tokens.npy",
    "generate": "generate model --tokens prompt.npy --max-new-tokens 8",
}


def make_pages(program: Path, folder: Path) -> None:
    """Write the page of each command into an empty folder."""
    save = "import numpy as np; np.save('tokens.npy', np.arange(1, 257) * 7 % 500); "
    save += "np.save('prompt.npy', np.arange(1, 9))"
    _run([str(program.with_name("python")), "-c", save], folder)
    for command in INPUTS:
        _run([str(program), *shlex.split(command), "--quiet"], folder)
    (folder / "damaged/ckpt-0/tensor00004_000").unlink()
    for name, command in PAGES.items():
        report = ["--quiet", "--report", f"{name}.html"]
        _run([str(program), *shlex.split(command), *report], folder)


def _run(words: list[str], folder: Path) -> None:
    subprocess.run(words, cwd=folder, check=False, stdout=subprocess.DEVNULL)  # noqa: S603  # as above


def take_pictures(browser: Browser, folder: Path) -> None:
    """Take a picture of each page at each width, by day and by night, and print it."""
    for scheme in SCHEMES:
        for width in WIDTHS:
            view = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
            for name in PAGES:
                view.goto((folder / f"{name}.html").as_uri())
                view.screenshot(path=folder / f"{name}-{scheme}-{width}.png", full_page=True)
                if (scheme, width) == ("light", WIDTHS[0]):
                    view.pdf(path=folder / f"{name}.pdf", format="A4")
            view.close()


def _browser() -> str:
    """Return the path of a browser on this machine."""
    named = os.environ.get("CHROMIUM")
    found = [named] if named else [path for name in BROWSERS if (path := shutil.which(name))]
    if not found:
        sys.exit("screenshots: no browser: apt install chromium, or CHROMIUM=/path/to/it")
    return found[0]


def main() -> None:
    """Make pages and pictures anew."""
    program, folder = Path(sys.argv[1]).absolute(), Path(sys.argv[2]).absolute()
    browser = _browser()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    make_pages(program, folder)
    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        take_pictures(opened, folder)
        opened.close()
    print(f"screenshots: {folder}")


if __name__ == "__main__":
    main()
