"""What the tests share."""

from pathlib import Path

import pytest

import linocut

ROOT = Path(__file__).resolve().parents[2]
BASE = ROOT / "models" / "all-minilm-l6-v2"
TEXTS = ["where is my parcel?", "it never arrived", "i want my money back", "please refund me"] * 5
LABELS = ["parcel", "parcel", "refund", "refund"] * 5


@pytest.fixture(scope="session")
def base():
    return linocut.Base(BASE)


@pytest.fixture(scope="session")
def cut(base):
    return base.train(TEXTS, LABELS, method="head", epochs=40, name="queue")
