"""The examples in docstrings run, in the project's folder, with a base, a cut and rows."""

import doctest
import importlib
import importlib.util
import pkgutil

import pytest

import linocut

from conftest import LABELS, ROOT, TEXTS

NAMES = [module.name for module in pkgutil.iter_modules(linocut.__path__)]
if importlib.util.find_spec("torch") is None:
    NAMES.remove("torch")
MODULES = [linocut, *(importlib.import_module(f"linocut.{name}") for name in NAMES)]
EXAMPLES = [test for module in MODULES for test in doctest.DocTestFinder().find(module) if test.examples]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda test: test.name)
def test_an_example(example, base, cut, monkeypatch):
    monkeypatch.chdir(ROOT)
    example.globs.update(linocut=linocut, base=base, cut=cut, texts=TEXTS, labels=LABELS)
    failures: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(example, out=failures.append)
    assert not failures, "".join(failures)


def test_everything_public_has_a_docstring():
    for name in linocut.__all__:
        thing = getattr(linocut, name)
        if name == "__version__":
            continue
        assert thing.__doc__, name
        for attribute, member in vars(thing).items() if isinstance(thing, type) else []:
            if callable(member) and not attribute.startswith("_"):
                assert member.__doc__, f"{name}.{attribute}"
