"""timm is loaded without torch's compiler, which loads when something asks for it."""

import subprocess
import sys

LOADED = """
import sys
from transferscope.runtime.compiler_on_demand import compiler_on_demand
before = list(sys.meta_path)
with compiler_on_demand():
    import timm, torch, torchvision
assert sys.meta_path == before
assert not [name for name in sys.modules if name == "torch._dynamo.utils"]
import torch.compiler
assert torch.compiler.disable.__module__ == "torch.compiler"
operator = sys.modules["torchvision.ops.roi_align"]
for module in (timm, operator):
    assert module.__loader__ is module.__spec__.loader
    assert type(module.__loader__).__name__ == "SourceFileLoader"
"""
USES = [
    "assert not any(name.startswith('torch._dynamo.symbolic') for name in sys.modules)",
    """
boxes = torch.tensor([[0.0, 0, 8, 8], [1, 1, 9, 9]])
assert torchvision.ops.nms(boxes, torch.tensor([0.9, 0.8]), 0.5).tolist() == [0]
assert torchvision.ops.roi_align(torch.ones(1, 3, 16, 16), [boxes], 2).eq(1).all()
""",
    """
network = timm.create_model("resnet10t", num_classes=0)
found = timm.layers.create_feature_extractor(network, ["layer2"])
assert found(torch.zeros(1, 3, 32, 32))["layer2"].shape == (1, 128, 4, 4)
""",
    """
from torch._dynamo.utils import is_compile_supported
assert operator.is_compile_supported is not is_compile_supported
assert operator.is_compile_supported("cpu") == is_compile_supported("cpu")
""",
    """
class Scaled(torch.nn.Module):
    def forward(self, x):
        return x * 2 + 1
assert torch.compile(Scaled(), backend="eager", fullgraph=True)(torch.ones(2)).tolist() == [3, 3]
""",
    # Its methods are marked: the compiler must leave them alone, and the values be the same.
    """
from timm.models import naflexvit
torch.manual_seed(0)
network = timm.create_model("naflexvit_base_patch16_gap", num_classes=0, depth=1, embed_dim=48,
                            num_heads=3).eval()
image = torch.rand(1, 3, 64, 64)
with torch.no_grad():
    plain = network(image)
    torch.testing.assert_close(torch.compile(network, backend="eager")(image), plain)
@naflexvit.disable_compiler
def marked(x):
    assert not torch.compiler.is_compiling()
    return x
assert torch.compile(lambda x: marked(x) + 1, backend="eager")(torch.ones(1)).item() == 2
try:
    torch.compile(lambda x: marked(x), backend="eager", fullgraph=True)(torch.ones(1))
except torch._dynamo.exc.Unsupported:
    pass
else:
    raise AssertionError("a marked function was compiled")
""",
]


def run(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_needs_the_compiler_finds_it():
    run(LOADED + "".join(USES))


# As other versions of the module might: what is not known loads the compiler, before or after.
OTHER_VERSION = """
import sys
from transferscope.runtime.compiler_on_demand import COMPILER, _function_on_demand
with _function_on_demand():
    from torch._dynamo.utils import is_compile_supported, {name}
real = sys.modules[COMPILER]
assert real.__spec__ is not None and real.{name} is {name}
assert is_compile_supported("cpu") == real.is_compile_supported("cpu")
"""


def test_another_version_of_the_module_loads_the_compiler_at_once():
    run(OTHER_VERSION.format(name="counters"))
