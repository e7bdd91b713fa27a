"""A GPU whose memory is too small: smaller pieces, a message that says what helps, and no retry that cannot help."""

import re
import sys
from types import SimpleNamespace

import pytest
import torch

from conftest import REPO, snakemake
from labelbench.common import gpu_memory, jobs

SHORT = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of …")


def needs(divisor, error=SHORT):
    """Work that fits where it is divided so often, and what it was tried with."""
    tried = []

    def work(now):
        tried.append(now)
        if now < divisor:
            raise error
        return f"in {now}"

    return work, tried


def test_work_is_divided_until_it_fits(caplog):
    work, tried = needs(4)
    assert gpu_memory.fitted(work) == "in 4"
    assert tried == [1, 2, 4]
    assert "in pieces 1/4 as large (CUDA out of memory. Tried to allocate 2.00 GiB." in caplog.text
    work, tried = needs(4)
    assert gpu_memory.fitted(work, first=8) == "in 8" and tried == [8]


@pytest.mark.parametrize(
    "error",
    [
        SHORT,
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_work_that_never_fits_raises_torchs_error(error):
    work, tried = needs(10**9, error)
    with pytest.raises(type(error)):
        gpu_memory.fitted(work, last=8)
    assert tried == [1, 2, 4, 8]


@pytest.mark.parametrize("error", [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), MemoryError()])
def test_other_errors_are_not_tried_again(error):
    work, tried = needs(2, error)
    with pytest.raises(type(error)):
        gpu_memory.fitted(work)
    assert tried == [1]


@pytest.fixture
def full(monkeypatch):
    """A GPU of 16 GB of which this process holds 12 and another one 3."""
    facts = {
        "memory_reserved": 12_000_000_000,
        "max_memory_allocated": 12_500_000_000,
        "mem_get_info": (1_000_000_000, 16_000_000_000),
        "get_device_name": "NVIDIA T4",
    }
    for name, value in facts.items():
        monkeypatch.setattr(torch.cuda, name, lambda value=value: value)


def test_the_message_says_what_was_held_and_what_helps(full):
    text = gpu_memory.message(SHORT, "finetune")
    for part in ("NVIDIA T4, 16.0 GB", "12.0 GB at last", "other programs 3.0 GB", "1.0 GB were free", "2.00 GiB"):
        assert part in text
    assert "`batch_size`" in text and gpu_memory.NOT_RETRIED in text
    assert "docs/strategies.md" in gpu_memory.message(SHORT, "select_batch")
    assert "A GPU with more memory" in gpu_memory.message(SHORT, "a rule of somebody else")


def test_every_rule_that_computes_on_a_gpu_has_its_advice():
    # A rule ends where another begins, or something in the first column.
    rules = "\n".join(path.read_text() for path in (REPO / "rules").glob("*.smk"))
    head = r" *(?:use rule \w+ as|rule) (\w+)(?: with)?:\n"
    found = re.findall(rf"^{head}((?:(?!{head}) .*\n|\n)*)", rules, re.MULTILINE)
    on_gpu = {name for name, block, _ in found if re.search(r"\bgpu=", block)}
    assert len(on_gpu) >= 10 and on_gpu <= set(gpu_memory.HELP)


def test_a_job_ends_with_the_message_alone(full, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    jobs.start(SimpleNamespace(log=[tmp_path / "log"], scriptdir=REPO / "workflow/scripts", rule="train_proxy"))
    sys.excepthook(type(SHORT), SHORT, None)
    text = (tmp_path / "log").read_text()
    assert "Traceback" not in text and "too small for this job" in text


SNAKEFILE = """
import sys
sys.path.insert(0, {scripts!r})
from labelbench.planning import snakemake_speed
if {repaired}:
    snakemake_speed.plan_quickly()

rule all:
    input: "out/short", "out/other"

rule fail:
    output: "out/{{kind}}"
    log: "{{kind}}.log"
    shell: "echo x >> {{wildcards.kind}}.attempts; echo '{{wildcards.kind}} {message}' > {{log}}; "
           "test {{wildcards.kind}} = short || echo > {{log}}; exit 1"
"""


@pytest.mark.parametrize(("repaired", "attempts"), [(True, [1, 3]), (False, [3, 3])], ids=["repaired", "published"])
def test_snakemake_does_not_try_such_a_job_again(tmp_path, repaired, attempts):
    """As published it does: where it does not any more, the repair can go."""
    scripts = str(REPO / "workflow/scripts")
    text = SNAKEFILE.format(scripts=scripts, message=gpu_memory.NOT_RETRIED, repaired=repaired)
    (tmp_path / "Snakefile").write_text(text)
    done = snakemake(tmp_path, "-c1", "--retries", "2", "--keep-going", check=False)
    assert done.returncode != 0
    assert [len((tmp_path / f"{kind}.attempts").read_text()) // 2 for kind in ("short", "other")] == attempts
