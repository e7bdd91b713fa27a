"""What the pretended GPU refuses, allows and counts: what a GPU does."""

import numpy as np
import pytest
import torch

from fakegpu import GPU

X = torch.arange(6.0).reshape(2, 3).to("cuda:0")
AT = torch.tensor([0, 1], device="cuda:0")


@pytest.fixture(autouse=True)
def the_first():
    before = torch.cuda.current_device()
    torch.cuda.set_device(0)
    yield
    torch.cuda.set_device(before)


REFUSED = {
    "numpy": (TypeError, lambda: X.numpy()),
    "asarray": (TypeError, lambda: np.asarray(X)),
    "plus a CPU tensor": (RuntimeError, lambda: X + torch.ones(3)),
    "plus a numpy array's tensor": (RuntimeError, lambda: X + torch.from_numpy(np.ones(3, np.float32))),
    "product": (RuntimeError, lambda: X @ torch.ones(3)),
    "cat": (RuntimeError, lambda: torch.cat([X, torch.ones(1, 3)])),
    "stack of scalars": (RuntimeError, lambda: torch.stack([X.sum(), torch.tensor(1.0)])),
    "scalar on the CPU takes one on the GPU": (RuntimeError, lambda: torch.zeros(()).add_(X.sum())),
    "GPU positions in a CPU tensor": (RuntimeError, lambda: torch.ones(3)[AT]),
    "index_select with CPU positions": (RuntimeError, lambda: X.index_select(0, torch.tensor([0]))),
    "CPU values into GPU positions": (RuntimeError, lambda: X.clone().__setitem__(AT, torch.ones(2, 3))),
    "out on the CPU": (RuntimeError, lambda: torch.add(X, X, out=torch.empty(2, 3))),
    "generator": (RuntimeError, lambda: torch.rand(3, device="cuda", generator=torch.Generator())),
    "no such GPU": (RuntimeError, lambda: torch.zeros(3, device="cuda:2")),
    "another GPU": (RuntimeError, lambda: X + torch.ones(3, device="cuda:1")),
    "model on the CPU": (RuntimeError, lambda: torch.nn.Linear(3, 2)(X)),
    "pin what is there": (RuntimeError, lambda: X.pin_memory()),
    "to the host without waiting": (RuntimeError, lambda: X.to("cpu", non_blocking=True)),
}
WAITS = {
    "item": lambda: X.sum().item(),
    "if": lambda: bool(X.sum() > 0),
    "tolist": lambda: X.tolist(),
    "cpu": lambda: X.cpu(),
    "nonzero": lambda: X.nonzero(),
    "mask": lambda: X[X > 1],
    "unique": lambda: X.unique(),
    "where": lambda: torch.where(X > 0),
    "bincount": lambda: AT.bincount(),
    "equal": lambda: torch.equal(X, X),
    "to": lambda: torch.ones(3).to("cuda"),
    "tensor": lambda: torch.tensor([1.0], device="cuda"),
    "list": lambda: X[[0, 1]],
    "cholesky": lambda: torch.linalg.cholesky(torch.eye(3, device="cuda")),
    "eigh": lambda: torch.linalg.eigh(torch.eye(3, device="cuda")),
    "one place": lambda: X.clone()[0].__setitem__(1, 5.0),
    "sync": lambda: torch.cuda.synchronize(),
    "pageable": lambda: torch.ones(3).to("cuda", non_blocking=True),
}
FREE = {
    "scalar": lambda: X + torch.tensor(2.0),
    "python": lambda: X * 2 + 1,
    "zeros": lambda: torch.zeros(3, device="cuda"),
    "slice": lambda: X[:1],
    "fill a slice": lambda: X.clone()[:1].fill_(3.0),
    "masked_fill": lambda: X.masked_fill(X > 1, 0),
    "mask and number": lambda: X.clone().__setitem__(X > 1, 0),
    "one_hot": lambda: torch.nn.functional.one_hot(AT, 4),
    "scatter": lambda: torch.zeros(4, device="cuda").scatter_add_(0, AT, X[0, :2]),
    "pinned": lambda: torch.ones(3).pin_memory().to("cuda", non_blocking=True),
    "part of a pinned one": lambda: torch.ones(3, pin_memory=True)[:2].to("cuda", non_blocking=True),
    "sort": lambda: X.sort(),
    "topk": lambda: X.topk(2),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused(what):
    error, act = REFUSED[what]
    with pytest.raises(error):
        act()


@pytest.mark.parametrize("what", [*WAITS, *FREE])
def test_counted(what):
    with GPU.counted() as found:
        (WAITS | FREE)[what]()
    assert bool(found.syncs) == (what in WAITS), found.syncs


@pytest.fixture(params=["float32", "bfloat16", "tf32"])
def precision(request):
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = request.param == "tf32"
    yield request.param
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_trains_as_the_cpu_does(precision, name):
    def train(device):
        torch.manual_seed(0)
        layers = torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Flatten(), torch.nn.Linear(144, 3)
        model = torch.nn.Sequential(*layers)
        weight, x = model[0].weight, torch.randn(5, 3, 8, 8)
        model.to(device).to(memory_format=torch.channels_last)
        assert model[0].weight is weight and weight.device.type == device
        optimiser = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[name](model.parameters(), lr=0.1, fused=True)
        for _ in range(3):
            with torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
                logits = model(x.to(device))
            assert logits.dtype == (torch.bfloat16 if precision == "bfloat16" else torch.float32)
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(logits.float(), torch.arange(5, device=device) % 3).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
        return [p.detach().cpu() for p in model.parameters()]

    pairs = list(zip(train("cpu"), train("cuda"), strict=True))
    same = all(torch.allclose(a, b, atol=0.1 if precision == "bfloat16" else 1e-6) for a, b in pairs)
    assert same == (precision != "tf32")


def test_inference_mode_and_attention():
    attention = torch.nn.MultiheadAttention(8, 2, batch_first=True).to("cuda").eval()
    x = torch.randn(2, 5, 8, device="cuda")
    with torch.inference_mode():
        assert attention(x, x, x, need_weights=False)[0].is_cuda


def test_memory_is_counted_and_runs_out():
    with GPU.memory(limit=10_000) as ledger:
        held = [torch.zeros(500, device="cuda")]
        view, product = held[0][10:20], held[0] * 2
        assert (ledger.held, torch.cuda.mem_get_info()) == (4000, (6000, 10_000))
        del product
        assert (ledger.held, ledger.peak) == (2000, 4000)
        with pytest.raises(torch.OutOfMemoryError, match="out of memory"):
            torch.zeros(2100, device="cuda")
        held.clear()
        assert ledger.held == 2000  # the view still needs it
        del view
        assert ledger.held == 0
        model = torch.nn.Linear(4, 4).to("cuda")
        model(torch.zeros(2, 4, device="cuda")).sum().backward()
        assert 2 * 80 <= ledger.held < 400  # parameters and their gradients


def test_there_are_two():
    assert torch.cuda.device_count() == GPU.count == 2
    torch.cuda.set_device(1)
    made = torch.ones(3).to("cuda") + torch.zeros(3, device="cuda")
    weight = torch.nn.Parameter(made)
    (2 * weight).sum().backward()
    assert made.device == weight.grad.device == torch.device("cuda:1")
    assert weight.grad.tolist() == [2, 2, 2]
    torch.cuda.set_device(0)
    assert torch.ones(1, device="cuda").device == torch.device("cuda:0")
