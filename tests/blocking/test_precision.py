import pytest

torch = pytest.importorskip("torch")

from blocking.precision import autocast  # noqa: E402


@pytest.mark.parametrize(
    ("has_bfloat16", "model_type", "expected"),
    [
        (True, "gte", torch.bfloat16),
        (True, "gemma3_text", torch.bfloat16),
        (False, "gte", torch.float16),
        (False, "gemma3_text", None),
    ],
)
def test_a_gpu_computes_in_the_half_numbers_that_it_and_the_model_bear(
    monkeypatch, has_bfloat16, model_type, expected
):
    seen = []
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation: has_bfloat16)
    monkeypatch.setattr(
        "torch.autocast", lambda device, dtype, enabled: seen.append((device, dtype, enabled))
    )
    autocast("cuda", "auto", model_type)
    (device, dtype, is_on), *_ = seen
    assert (device, is_on) == ("cuda", expected is not None)
    assert expected is None or dtype == expected


def test_a_cpu_computes_in_full_numbers_unless_told_otherwise():
    a = torch.ones(4, 4)
    with autocast("cpu"):
        assert (a @ a).dtype == torch.float32
    with autocast("cpu", "bfloat16"):
        assert (a @ a).dtype == torch.bfloat16
