"""One spelling per meaning, and a digest that sees code and nothing else."""

import pytest

from labelbench.common import provenance, seeds


def test_canonical_has_one_spelling_per_meaning():
    assert provenance.canonical({"b": 1.0, "a": [1, 2]}) == provenance.canonical({"a": (1.0, 2.0), "b": 1})
    assert provenance.canonical({"a": True}) != provenance.canonical({"a": 1})
    assert provenance.canonical({"a": 0.1, "b": 0.2}) != provenance.canonical({"a": 0.2, "b": 0.1})


@pytest.fixture
def scripts(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "SCRIPTS", tmp_path)
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/__init__.py").write_text("")
    (tmp_path / "lib/deep.py").write_text("VALUE = 1\n")
    (tmp_path / "lib/middle.py").write_text("def f():\n    from lib import deep\n    return deep.VALUE\n")
    (tmp_path / "job.py").write_text("import numpy\nfrom lib.middle import f\nf()\n")

    def digest():
        provenance.digest.cache_clear()
        provenance._read.cache_clear()
        return provenance.digest("job.py")

    yield digest
    provenance.digest.cache_clear()
    provenance._read.cache_clear()


@pytest.mark.parametrize("file", ["job.py", "lib/middle.py", "lib/deep.py", "lib/__init__.py"])
def test_digest_follows_local_imports(scripts, tmp_path, file):
    before = scripts()
    with (tmp_path / file).open("a") as handle:
        handle.write("\nMORE = 2\n")
    assert scripts() != before


def test_digest_ignores_comments_docstrings_and_layout(scripts, tmp_path):
    before = scripts()
    (tmp_path / "lib/deep.py").write_text('"""What it is."""\n\n# why\nVALUE = (\n    1\n)\n')
    assert scripts() == before


def test_digest_ignores_what_a_strategy_asks_for(scripts, tmp_path):
    before = scripts()
    memory = "\n\ndef memory(config, sizes):\n    from lib import other\n    return other.OF * sizes.examples\n"
    (tmp_path / "lib/other.py").write_text("OF = 9\n")
    (tmp_path / "lib/deep.py").write_text(f"VALUE = 1{memory}")
    assert scripts() == before
    (tmp_path / "lib/deep.py").write_text(f"VALUE = 1{memory.replace('memory', 'remember')}")
    assert scripts() != before


def test_every_address_has_its_own_stream():
    addresses = [(s, t, r, stage) for s in (0, 1) for t in (0, 1) for r in (1, 2) for stage in ("train", "select")]
    drawn = {address: seeds.generator(*address).integers(2**62) for address in addresses}
    assert len(set(drawn.values())) == len(addresses)
    assert drawn == {address: seeds.generator(*address).integers(2**62) for address in addresses}
    assert len({seeds.integer(*address) for address in addresses}) == len(addresses)
