"""With this folder on PYTHONPATH, every Python process that imports torch has the pretended GPU.

FAKE_GPUS: how many there are (1). FAKE_GPU_MEMORY: bytes that each has (unlimited). FAKE_GPU_LOG: a folder for one file
of each process that used it: how many operators ran there, on which lines the host waited for it.
"""

import atexit
import importlib.util
import os
import sys
from pathlib import Path


class Finder:
    """Wraps the import of torch: what has to be there before it, and what is changed after it."""

    def find_spec(self, name, path=None, target=None):
        if name != "torch":
            return None
        sys.meta_path.remove(self)
        sys.path.append(str(Path(__file__).resolve().parent.parent))
        import guard

        guard.load()
        spec = importlib.util.find_spec("torch")
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            import fakegpu

            fakegpu.install()
            if folder := os.environ.get("FAKE_GPU_LOG"):
                atexit.register(report, fakegpu.GPU, folder)

        spec.loader.exec_module = exec_module
        return spec


def report(gpu, folder):
    if gpu.forked or not gpu.ops:
        return
    with Path(folder, str(os.getpid())).open("w") as file:
        print(sum(gpu.ops.values()), *sys.argv, file=file)
        for (where, what), times in gpu.syncs.most_common():
            print(times, where, what, file=file)


sys.meta_path.insert(0, Finder())
