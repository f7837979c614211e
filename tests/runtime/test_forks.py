"""After a fork an engine is refused or works; it never waits for ever."""

from __future__ import annotations

import subprocess
import sys

import pytest

PARENT = """
import os, sys, warnings
import numpy as np
warnings.simplefilter("ignore")  # Python warns of forking beside threads, and is right
from sipvideo.errors import SipVideoError
images = np.zeros((1, 3, 64, 64), np.float32)

def child(action):
    pid = os.fork()
    if pid == 0:
        try:
            action()
            print("worked", flush=True)
        except SipVideoError as error:
            print(error, flush=True)
        os._exit(0)
    os.waitpid(pid, 0)
"""
TORCH = """
import torch
from tests.networks import lively, small_config
torch.set_num_threads(2)
config = small_config()
from sipvideo.runtime.pytorch import TorchRuntime
def make():
    return TorchRuntime(lively(config), torch.device("cpu"))
def single():
    torch.set_num_threads(1)
    runtime(images)
runtime = make()
child(lambda: runtime(images))
runtime(images)
child(lambda: runtime(images))
child(single)
runtime(images)
print("parent", flush=True)
"""
OPENVINO = """
import openvino
from openvino import Model, PartialShape, Type, opset8
from sipvideo.runtime.openvino import OpenVINORuntime
class Network(OpenVINORuntime):
    def __call__(self, images):
        if self.callers > 1:
            return super().__call__(images)
        self._for(images.shape)
parameter = opset8.parameter(PartialShape([-1, 3, -1, -1]), Type.f32, name="images")
result = opset8.relu(parameter)
result.output(0).get_tensor().set_names({"x"})
network = Model([result], [parameter])
runtime = Network(network)
runtime(images)
child(lambda: runtime(images))
child(lambda: runtime(images[:, :, :32]))
child(lambda: runtime.shared(2)(images))
print("parent", flush=True)
"""


def lines(script: str) -> list[str]:
    """What a process of its own prints; on a busy machine it takes long, but not for ever."""
    done = subprocess.run(
        [sys.executable, "-c", PARENT + script],
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.skipif(not hasattr(sys.modules["os"], "fork"), reason="there is no fork here")
def test_pytorch_is_refused_in_a_fork_of_a_process_that_used_it() -> None:
    loaded, ran, single, parent = lines(TORCH)
    for refusal in (loaded, ran):
        assert refusal.startswith("PyTorch was used before this process was forked")
        assert "'spawn', or call torch.set_num_threads(1) after the fork" in refusal
    assert (single, parent) == ("worked", "parent")


@pytest.mark.skipif(not hasattr(sys.modules["os"], "fork"), reason="there is no fork here")
def test_openvino_is_refused_in_a_fork_where_it_would_need_its_threads() -> None:
    pytest.importorskip("openvino")
    known, other, shared, parent = lines(OPENVINO)
    assert (known, parent) == ("worked", "parent")
    for refusal in (other, shared):
        assert refusal.startswith("OpenVINO was used before this process was forked")
