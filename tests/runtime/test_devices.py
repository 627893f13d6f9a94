from arcface_mxnet.runtime.cuda import Gpu
from arcface_mxnet.runtime.devices import contexts, gpu_indices
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.mx import mx

import pytest

P40S = [Gpu(index, "Tesla P40", (6, 1)) for index in range(4)]
H100 = [Gpu(0, "NVIDIA H100", (9, 0))]


def test_without_a_flag_every_gpu_else_the_cpu():
    assert gpu_indices(None, P40S, True) == [0, 1, 2, 3]
    assert gpu_indices(None, [], True) == []
    assert gpu_indices(None, [], False) == []
    assert contexts(None) == [mx.cpu()]


def test_the_papers_four_gpus():
    assert gpu_indices("0,1,2,3", P40S, True) == [0, 1, 2, 3]
    assert gpu_indices("3,1", P40S, True) == [3, 1]


def test_cpu_contexts():
    assert contexts("cpu") == [mx.cpu(0)]
    assert contexts("cpu:2") == [mx.cpu(0), mx.cpu(1)]


@pytest.mark.parametrize("text, gpus, gpu_build, said", [
    (None, H100, True, "GPU 0 .NVIDIA H100. has compute capability 9.0.*'--gpus cpu'"),
    ("0", H100, True, "compute capability 9.0"),
    ("0", [], True, "no GPU 0 here .found 0..*'--gpus cpu'"),
    ("0,4", P40S, True, "no GPU 4 here .found 4."),
    ("0", P40S, False, "CPU build"),
    ("0,0", P40S, True, "each GPU once"),
    ("a", P40S, True, "expected GPU numbers"),
])
def test_what_cannot_be_used_is_said_in_one_line(text, gpus, gpu_build, said):
    with pytest.raises(InputError, match=said) as error:
        gpu_indices(text, gpus, gpu_build)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["cpu:0", "cpu:two", "cpu:-1"])
def test_a_bad_number_of_cpu_contexts(text):
    with pytest.raises(InputError, match=f"--gpus {text}"):
        contexts(text)
