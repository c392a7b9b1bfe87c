import pytest

torch = pytest.importorskip("torch")

from blocking.precision import chosen_precision, hold  # noqa: E402


@pytest.mark.parametrize(
    ("has_bfloat16", "model_type", "expected"),
    [
        (True, "gte", "bfloat16"),
        (True, "gemma3_text", "bfloat16"),
        (False, "gte", "float16"),
        (False, "gemma3_text", "float32"),
    ],
)
def test_a_gpu_holds_the_half_numbers_that_it_and_the_model_bear(
    monkeypatch, has_bfloat16, model_type, expected
):
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation: has_bfloat16)
    assert chosen_precision("cuda", "auto", model_type) == expected
    assert chosen_precision("cuda", "float32", model_type) == "float32"


def test_a_cpu_holds_full_numbers_unless_told_otherwise():
    assert chosen_precision("cpu") == "float32"
    assert chosen_precision("cpu", "bfloat16") == "bfloat16"


def test_weights_become_half_numbers_and_full_ones_again_and_buffers_stay():
    model = torch.nn.BatchNorm1d(3)
    model.register_parameter("number", torch.nn.Parameter(torch.arange(3), requires_grad=False))
    model.register_buffer("frequencies", torch.tensor([1 / 3]))
    assert hold(model, "cpu", "bfloat16") is model
    assert (model.weight.dtype, model.bias.dtype) == (torch.bfloat16, torch.bfloat16)
    assert model.number.dtype == torch.int64
    assert model.frequencies.item() == torch.tensor(1 / 3).item()
    assert hold(model, "cpu").weight.dtype == torch.float32
