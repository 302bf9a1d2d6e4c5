"""Writes the tables of the rarity score: character pairs and common words (output policy spec §16.6).

Usage: python tools/generate_rarity_tables.py FOLDER… ; the folders hold English text and source code.
Output: rust/output/src/rarity/bigrams.rs and rust/output/src/rarity/words.txt.
"""

import math
import re
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

OUT = Path(__file__).resolve().parent.parent / "rust" / "output" / "src" / "rarity"
SUFFIXES = {".py", ".rs", ".md", ".rst", ".txt", ".toml", ".js", ".ts", ".html", ".yaml", ".yml", ".c", ".h"}
SYMBOLS = "abcdefghijklmnopqrstuvwxyz0123456789"
MAX_FILES = 6_000
MAX_FILE_CHARACTERS = 200_000
WORDS = 3_500


def main(folders: list[str]) -> None:
    pairs: Counter[tuple[int, int]] = Counter()
    files_of_word: Counter[str] = Counter()
    paths = sorted(p for folder in folders for p in Path(folder).rglob("*") if p.suffix in SUFFIXES)
    step = max(1, len(paths) // MAX_FILES)
    for path in paths[::step]:
        text = path.read_text("utf-8", "ignore")[:MAX_FILE_CHARACTERS]
        lower = text.lower()
        for run in re.findall(r"[a-z0-9]{2,24}", lower):
            # Digests and tables would teach the score that random text is ordinary.
            if len(run) > 12 and any(c.isdigit() for c in run):
                continue
            for pair in pairwise(run):
                pairs[(SYMBOLS.index(pair[0]), SYMBOLS.index(pair[1]))] += 1
        spaced = re.sub(r"([a-z])([A-Z])", r"\1 \2", text).lower()
        files_of_word.update(set(re.findall(r"[a-z]{3,16}", spaced)))
    rows = []
    for first in range(len(SYMBOLS)):
        total = sum(pairs[(first, second)] for second in range(len(SYMBOLS))) + len(SYMBOLS)
        bits = [-math.log2((pairs[(first, second)] + 1) / total) for second in range(len(SYMBOLS))]
        rows.append([min(255, round(16 * value)) for value in bits])
    lines = ["    [" + ", ".join(map(str, row)) + "]," for row in rows]
    OUT.mkdir(exist_ok=True)
    (OUT / "bigrams.rs").write_text(
        "//! Written by `tools/generate_rarity_tables.py`.\n\n"
        "/// Surprise of the second of two characters (`a`–`z`, then `0`–`9`), in sixteenths of a bit.\n"
        "#[rustfmt::skip]\n"
        f"pub(super) static SURPRISE: [[u8; {len(SYMBOLS)}]; {len(SYMBOLS)}] = [\n"
        + "\n".join(lines)
        + "\n];\n"
    )
    common = [word for word, count in files_of_word.most_common(WORDS) if count > 3]
    (OUT / "words.txt").write_text("\n".join(sorted(common)) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
