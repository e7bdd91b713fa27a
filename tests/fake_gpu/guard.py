"""Builds and loads guard.cpp: what torch's core must know of "cuda" before it is imported."""

import ctypes
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = HERE.parent.parent / ".pytest_cache/fake_gpu"

library = None


def _torch():
    """The folder of torch, which is not imported."""
    return Path(importlib.util.find_spec("torch").origin).parent


def missing():
    """Why there can be no pretended GPU on this machine, in a few words; None where there can be one."""
    if sys.platform != "linux":
        return "the pretended GPU needs Linux"
    if shutil.which("g++") is None:
        return "the pretended GPU needs g++, which is not installed"
    if "\ncuda: Optional[str] = None\n" not in (_torch() / "version.py").read_text():
        return "the pretended GPU needs a torch without CUDA: this one brings its own hooks"
    return None


def built():
    """The compiled library; made where it is not there yet for this text and this torch (10 seconds)."""
    home = _torch()
    digest = hashlib.sha256((HERE / "guard.cpp").read_bytes() + (home / "version.py").read_bytes()).hexdigest()[:12]
    path = CACHE / f"guard-{digest}.so"
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}")
        options = ["-std=c++20", "-shared", "-fPIC", f"-I{home}/include", f"-L{home}/lib", f"-Wl,-rpath,{home}/lib"]
        subprocess.run(["g++", *options, HERE / "guard.cpp", "-ltorch_cpu", "-lc10", "-o", part], check=True)
        part.replace(path)
    return path


def load():
    """Load the library. Raises ImportError once torch is imported, for that looks for CUDA's hooks but once."""
    global library
    if library is None:
        if "torch" in sys.modules:
            raise ImportError("load the pretended GPU before torch")
        library = ctypes.CDLL(built(), ctypes.RTLD_GLOBAL)
