"""A pretended GPU: tensors that say `cuda:0`, hold their numbers in CPU memory, and break where a GPU's would.

A process has it from the start (`site/sitecustomize.py`). In it,

* what is made on or moved to "cuda" is a `CudaTensor`; each operator of it runs on the CPU, by way of Python;
* operators that meet a tensor of another device raise torch's "same device" error, by CUDA's rules: 0-dim CPU
  tensors may take part in pointwise operators, CPU positions may index a GPU tensor, copies may cross; nothing else
  may. Neither may a CPU generator make numbers there, a fused optimiser get lists of different layout, a forked child
  touch the GPU;
* products and convolutions of float32 lose the mantissa that TF32 loses, where torch's settings allow TF32;
* `torch.cuda` says that there are `FAKE_GPUS` of them, with bfloat16; `pin_memory` marks its result as pinned;
* `GPU.syncs` counts where the host waits for the device, a Counter of (file:line, what) with the innermost line of
  the library; `GPU.atomic` likewise what adds floats in any order there; `GPU.counted()` counts within a block;
* `GPU.memory(limit)` is a GPU of so many bytes: what tensors hold is counted, and more of it raises torch's error;
* `GPU.seeded` holds what its generator was seeded with.

It cannot catch what kernels do: speed, the order of sums, cuDNN's choices, races. Nothing in it is asynchronous.
"""

import collections
import contextlib
import functools
import os
import sys
import weakref
from types import SimpleNamespace

import torch
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only

import guard

WATCHED = "/workflow/scripts/"
UNLIMITED = 80 << 30

# Operators whose result, or its size, the host has to know before it goes on.
SYNC = {
    "_local_scalar_dense": "item", "item": "item", "is_nonzero": "item", "equal": "equal", "nonzero": "nonzero",
    "argwhere": "nonzero", "masked_select": "nonzero", "_unique2": "unique", "unique_dim": "unique",
    "unique_consecutive": "unique", "bincount": "bincount", "multinomial": "multinomial", "histc": "histc",
    "repeat_interleave": "repeat_interleave", "_linalg_check_errors": "linalg error check",
    "_linalg_eigh": "linalg error check", "_linalg_svd": "linalg error check", "linalg_eig": "linalg error check",
    "linalg_lstsq": "linalg error check",
}  # fmt: skip
# Besides those tagged pointwise, these take 0-dim CPU tensors.
SCALARS = {
    "where", "masked_fill", "masked_fill_", "fill_", "lerp", "lerp_", "_foreach_mul_", "_foreach_mul", "clamp",
    "clamp_",
}  # fmt: skip
ACROSS = {"set_", "lift_fresh", "lift", "detach"}
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put"}
FUSED = {"_fused_adam_": 4, "_fused_adamw_": 4, "_fused_sgd_": 3}  # lists that have to be of one layout
# Of floats; from the documentation of torch.use_deterministic_algorithms.
ATOMIC = {
    "scatter_add", "scatter_add_", "index_add", "index_add_", "cumsum", "cumsum_", "put_", "histc", "kthvalue",
    "median", "scatter_reduce", "scatter_reduce_", "grid_sampler_2d_backward", "_embedding_bag",
    "upsample_bicubic2d_backward", "upsample_bilinear2d_backward", "adaptive_avg_pool2d_backward",
    "reflection_pad2d_backward",
}  # fmt: skip
# What runs on tensor cores, and the position of its first factor.
PRODUCTS = {"mm": 0, "bmm": 0, "mv": 0, "addmm": 1, "addmm_": 1, "baddbmm": 1, "addmv": 1}
CONVOLUTIONS = {"convolution", "convolution_backward"}


class CudaTensor(torch.Tensor):
    """`host`: the CPU tensor with the numbers, of the same sizes and strides."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, host, index=0, requires_grad=False):
        self = torch.Tensor._make_wrapper_subclass(
            cls, host.shape, strides=host.stride(), storage_offset=host.storage_offset(), dtype=host.dtype,
            layout=host.layout, device=torch.device("cuda", index), requires_grad=requires_grad,
        )  # fmt: skip
        self.host = host
        if GPU.ledger is not None:
            GPU.ledger.add(self)
        return self

    def __repr__(self, *, tensor_contents=None):
        return f"CudaTensor({self.host!r})"

    def numpy(self, *args, **kwargs):
        raise TypeError(
            f"can't convert {self.device} device type tensor to numpy. "
            "Use Tensor.cpu() to copy the tensor to host memory first."
        )

    __array__ = numpy

    def tolist(self):
        return self.cpu().tolist()

    def __tensor_flatten__(self):  # so that Module.to swaps what a parameter holds, and the parameter stays
        return ["host"], self.device.index

    @staticmethod
    def __tensor_unflatten__(inner, context, size, stride):
        return CudaTensor(inner["host"], context)

    def __deepcopy__(self, memo):
        copy = CudaTensor(self.host.clone(), self.device.index)
        return torch.nn.Parameter(copy, self.requires_grad) if isinstance(self, torch.nn.Parameter) else copy

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return GPU.run(func, args, kwargs or {})


def _not_same(func, tensor, device):
    return RuntimeError(
        f"Expected all tensors to be on the same device, but found at least two devices, {device} and "
        f"{tensor.device}! ({func}, {tensor.device} tensor of shape {tuple(tensor.shape)})"
    )


def _short(tensor):
    """A float32 tensor with the ten bits of mantissa that TF32 keeps, rounded to nearest."""
    if not isinstance(tensor, torch.Tensor) or tensor.dtype != torch.float32:
        return tensor
    bits = tensor.contiguous().view(torch.int32)
    return ((bits + 0xFFF + ((bits >> 13) & 1)) & ~0x1FFF).view(torch.float32).reshape(tensor.shape)


class _Schema:
    """name; written: arguments (position, name) that an operator writes to; outputs: for each the one it is, or None;
    view: whether an output is a view; reshapes: whether in place; composite: made of other operators; pointwise."""

    def __init__(self, func):
        schema = func._schema
        self.name = schema.name.partition("::")[2]
        writers = [(at, a) for at, a in enumerate(schema.arguments) if a.alias_info and a.alias_info.is_write]
        self.written = [(at, a.name) for at, a in writers]
        by_alias = {frozenset(a.alias_info.before_set): (at, a.name) for at, a in writers}
        returns = schema.returns
        self.outputs = [by_alias.get(frozenset(r.alias_info.before_set)) if r.alias_info else None for r in returns]
        self.view = any(r.alias_info and not r.alias_info.is_write for r in returns)
        has = functools.partial(torch._C._dispatch_has_kernel_for_dispatch_key, func.name())
        self.composite = has("CompositeImplicitAutograd") and not has("CPU")
        self.pointwise = torch.Tag.pointwise in func.tags
        self.reshapes = torch.Tag.inplace_view in func.tags
        if self.name in ("resize_", "set_"):
            raise NotImplementedError(f"fakegpu: {func} gives a tensor other memory")


_schema = functools.cache(_Schema)


class Lease:
    """Lives as long as the tensor that holds it."""


class Ledger:
    """The memory that tensors hold on a GPU of `limit` bytes: held now, and at most since the last reset (peak)."""

    def __init__(self, limit):
        self.limit, self.held, self.peak, self._blocks = limit, 0, 0, {}

    def add(self, tensor):
        storage = tensor.host.untyped_storage()
        block, size = storage.data_ptr(), storage.nbytes()
        if block not in self._blocks:
            if self.held + size > self.limit:
                raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {size / 2**20:.2f} MiB.")
            self._blocks[block] = [0, size]
            self.held += size
            self.peak = max(self.peak, self.held)
        self._blocks[block][0] += 1
        # Not the tensor itself, for one that is weakly referred to cannot be swapped with another.
        tensor.lease = Lease()
        weakref.finalize(tensor.lease, self._drop, block).atexit = False

    def _drop(self, block):
        self._blocks[block][0] -= 1
        if not self._blocks[block][0]:
            self.held -= self._blocks.pop(block)[1]


class FakeGpu(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.forked, self.ledger, self.seeded = False, None, []
        self.count, self.current = int(os.environ.get("FAKE_GPUS", 1)), 0
        self.syncs, self.atomic, self.ops = (collections.Counter() for _ in range(3))

    def where(self):
        frame = sys._getframe(2)
        while frame is not None:
            _, found, path = frame.f_code.co_filename.partition(WATCHED)
            if found:
                return f"{path}:{frame.f_lineno}"
            frame = frame.f_back
        return "elsewhere"

    def sync(self, what):
        self.syncs[self.where(), what] += 1

    @contextlib.contextmanager
    def counted(self):
        """A namespace whose `syncs`, `atomic` and `ops` are, after the block, those of the block alone."""
        names, found = ("syncs", "atomic", "ops"), SimpleNamespace()
        before = {name: getattr(self, name).copy() for name in names}
        try:
            yield found
        finally:
            for name in names:
                setattr(found, name, getattr(self, name) - before[name])

    @contextlib.contextmanager
    def memory(self, limit=UNLIMITED):
        """A `Ledger` of what is made in the block, for a GPU of `limit` bytes that is empty at its beginning."""
        before, self.ledger = self.ledger, Ledger(limit)
        try:
            yield self.ledger
        finally:
            self.ledger = before

    def free(self):
        """(free, total) bytes."""
        return (UNLIMITED,) * 2 if self.ledger is None else (self.ledger.limit - self.ledger.held, self.ledger.limit)

    def index(self, device):
        """The number of the GPU that a device names; the current one for "cuda"."""
        index = device if isinstance(device, int) else torch.device(device).index
        if index is not None and index >= self.count:
            raise RuntimeError("CUDA error: invalid device ordinal")
        return self.current if index is None else index

    def select(self, device):
        self.current = self.index(device)
        guard.library.fake_gpu_set_device(self.current)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return self.run(func, args, kwargs or {})

    def run(self, func, args, kwargs):
        tensors = [t for t in tree_flatten((args, kwargs))[0] if isinstance(t, torch.Tensor)]
        there = [t for t in tensors if isinstance(t, CudaTensor)]
        device = None if kwargs.get("device") is None else torch.device(kwargs["device"])
        to_gpu = device is not None and device.type == "cuda"
        if not there and not to_gpu:
            if kwargs.get("pin_memory"):
                return _marked(func(*args, **{**kwargs, "pin_memory": False}))
            return func(*args, **kwargs)
        index = self.index(device) if to_gpu else there[0].device.index
        if self.forked:
            raise RuntimeError("Cannot re-initialize CUDA in forked subprocess.")
        schema = _schema(func)
        if schema.composite:  # in inference mode; its parts come here again
            with self:
                return func.decompose(*args, **kwargs)
        self.ops[schema.name] += 1
        self.check(func, schema, tensors, there, device, args, kwargs)
        if schema.name == "_fused_sdp_choice":
            return 0  # attention by the plain formula
        inner = {key: value for key, value in kwargs.items() if key not in ("pin_memory", "generator")}
        if device is not None:
            inner["device"] = torch.device("cpu")
        host_args, inner = tree_map_only(CudaTensor, lambda t: t.host, (args, inner))
        made = func(*_in_tf32(schema.name, host_args), **inner)
        if schema.reshapes:  # squeeze_ and the like: the tensor itself has to follow, as in return_and_correct_aliasing
            before = torch._C._meta_in_tls_dispatch_include()
            with no_dispatch():
                torch._C._set_meta_in_tls_dispatch_include(True)
                func(*args, **kwargs)
                torch._C._set_meta_in_tls_dispatch_include(before)
        if schema.name == "_to_copy" and made is host_args[0]:
            made = made.clone()
        on_gpu = to_gpu if device is not None else bool(there)
        # In inference mode a view of an ordinary tensor is an ordinary one, whatever else is made there.
        ordinary = schema.view and torch.is_inference_mode_enabled() and not tensors[0].is_inference()

        def output(value, writer):
            if writer is not None:
                return args[writer[0]] if writer[0] < len(args) else kwargs[writer[1]]
            if not on_gpu:
                return value
            with torch.inference_mode(False) if ordinary else contextlib.nullcontext():
                return tree_map_only(torch.Tensor, lambda t: CudaTensor(t, index), value)

        if len(schema.outputs) == 1:
            return output(made, schema.outputs[0])
        return tuple(map(output, made, schema.outputs)) if isinstance(made, tuple) else made

    def check(self, func, schema, tensors, there, device, args, kwargs):
        """Raise what CUDA would raise; count where the host waits."""
        name = schema.name
        if name in ("copy_", "_to_copy"):
            source, into = (args[1], args[0].device) if name == "copy_" else (args[0], device or args[0].device)
            waits = not (kwargs.get("non_blocking") or (name == "copy_" and len(args) > 2 and args[2]))
            return self.copied(source, into.type, waits)
        generator = kwargs.get("generator")
        if generator is not None and generator.device.type == "cpu" and (device is None or device.type == "cuda"):
            raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")
        if name in ACROSS:
            return None
        for t in there:
            if t.device != there[0].device:
                raise _not_same(func, t, there[0].device)
        if name in INDEXING:
            return self.indexed(func, name, args)
        for t in tensors:
            if not isinstance(t, CudaTensor) and (t.ndim or not (schema.pointwise or name in SCALARS)):
                raise _not_same(func, t, there[0].device if there else device)
        for at, argument in schema.written:
            out = args[at] if at < len(args) else kwargs.get(argument)
            if isinstance(out, torch.Tensor) and not isinstance(out, CudaTensor):
                raise _not_same(func, out, there[0].device)
        if name in FUSED:  # ATen/native/ForeachUtils.h, check_fast_path_restrictions
            for together in zip(*(part for part in args[: FUSED[name]] if part), strict=True):
                layouts = {
                    (t.dtype, t.shape, *(s for n, s in zip(t.shape, t.stride(), strict=True) if n != 1))
                    for t in together
                }
                if len(layouts) > 1:
                    raise RuntimeError(f"{name}: params, grads and states must have same dtype, device, and layout")
        if name in SYNC:
            self.sync(SYNC[name])
        if name in ATOMIC and any(t.is_floating_point() for t in there):
            self.atomic[self.where(), name] += 1
        return None

    def indexed(self, func, name, args):
        if not isinstance(args[0], CudaTensor):
            raise RuntimeError("indices should be either on cpu or on the same device as the indexed tensor (cpu)")
        indices = [i for i in args[1] if i is not None]
        for _ in (i for i in indices if not isinstance(i, CudaTensor)):
            self.sync("index from host")
        masks = [i for i in indices if i.dtype in (torch.bool, torch.uint8)]
        put = "put" in name
        if put and args[2].ndim and not isinstance(args[2], CudaTensor):
            raise _not_same(func, args[2], args[0].device)
        if masks and not (put and args[2].numel() == 1 and len(masks) == len(indices)):  # that goes to masked_fill
            self.sync("mask as index")
        if put and len(args) > 3 and args[3]:
            self.atomic[self.where(), name] += 1

    def copied(self, source, into, waits):
        if source.device.type == into or source.numel() == 0:
            return
        if into == "cpu":
            if not waits:
                raise RuntimeError("fakegpu: a non_blocking copy to the host is a race without a synchronisation")
            self.sync("device to host")
        elif waits:
            self.sync("host to device")
        elif not _is_pinned(source):
            self.sync("host to device, non_blocking but pageable")


GPU = FakeGpu()


def _in_tf32(name, args):
    """The arguments of an operator as tensor cores would read them."""
    if name in PRODUCTS and torch.backends.cuda.matmul.allow_tf32:
        at = PRODUCTS[name]
        return (*args[:at], _short(args[at]), _short(args[at + 1]), *args[at + 2 :])
    if name in CONVOLUTIONS and torch.backends.cudnn.allow_tf32:
        factors = 2 if name == "convolution" else 3  # the bias is added in float32
        return (*map(_short, args[:factors]), *args[factors:])
    return args


def _marked(tensor):
    tensor.fake_pinned = True
    return tensor


def _pin(tensor, device=None):
    if isinstance(tensor, CudaTensor):
        raise RuntimeError("cannot pin 'torch.cuda.FloatTensor' only dense CPU tensors can be pinned")
    return _marked(tensor.clone())


def _is_pinned(tensor, device=None):
    return any(getattr(t, "fake_pinned", False) for t in (tensor, tensor._base) if t is not None)


def install():
    """Pretend from here to the end of the process, in this thread and in the autograd work that it starts."""
    cuda, accelerator = torch.cuda, torch.accelerator
    stream = SimpleNamespace(synchronize=lambda: GPU.sync("synchronize"), wait_stream=lambda other: None)
    answers = {
        "is_available": True, "device_count": GPU.count, "_lazy_init": None, "init": None, "is_initialized": True,
        "is_bf16_supported": True, "get_device_name": "pretended", "get_device_capability": (8, 0),
        "current_stream": stream, "default_stream": stream, "empty_cache": None,
    }  # fmt: skip
    for name, answer in answers.items():
        setattr(cuda, name, lambda *args, answer=answer, **kwargs: answer)
    cuda.current_device, cuda.set_device = lambda: GPU.current, GPU.select
    cuda.synchronize = lambda device=None: GPU.sync("synchronize")
    cuda._is_in_bad_fork = lambda: GPU.forked
    cuda.manual_seed = cuda.manual_seed_all = GPU.seeded.append
    cuda.default_generators = tuple(torch.Generator() for _ in range(GPU.count))
    cuda.mem_get_info = lambda device=None: GPU.free()
    held = lambda name: lambda device=None: 0 if GPU.ledger is None else getattr(GPU.ledger, name)  # noqa: E731
    cuda.memory_allocated = cuda.memory_reserved = held("held")
    cuda.max_memory_allocated = cuda.max_memory_reserved = held("peak")
    cuda.get_device_properties = lambda device=None: SimpleNamespace(
        name="pretended", total_memory=GPU.free()[1], major=8, minor=0, multi_processor_count=108
    )

    def reset(device=None):
        if GPU.ledger is not None:
            GPU.ledger.peak = GPU.ledger.held

    cuda.reset_peak_memory_stats = reset
    cuda.amp.common.amp_definitely_not_available = lambda: False
    accelerator.is_available, accelerator.current_device_index = cuda.is_available, cuda.current_device
    accelerator.set_device_index = cuda.set_device
    accelerator.current_accelerator = lambda check_available=False: torch.device("cuda")
    torch.Tensor.pin_memory, torch.Tensor.is_pinned = _pin, _is_pinned
    torch.utils._foreach_utils._foreach_supported_types.append(CudaTensor)
    torch._C._set_only_lift_cpu_tensors(True)
    os.register_at_fork(after_in_child=lambda: setattr(GPU, "forked", True))
    if limit := os.environ.get("FAKE_GPU_MEMORY"):
        GPU.ledger = Ledger(int(limit))
    GPU.__enter__()
    return GPU
