from typing import Any

import numpy as np

from fedk.aggregation.grid import Grid, Kind, Run
from fedk_protocol.codec import Layout, Safetensors, Spec, layout_of, read_layout

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)


def layout(**tensors: Any) -> Layout:
    return layout_of(
        {name.replace("__", "."): Spec(np.dtype(dtype), shape) for name, (dtype, shape) in tensors.items()}
    )


def shown(runs: tuple[Run, ...]) -> list[tuple[str, int, int, list[str]]]:
    return [(run.kind.name, run.at, run.count, [tensor.name for tensor in run.tensors]) for run in runs]


NET = layout(
    conv__weight=(F32, (4, 3)), conv__bias=(F32, (4,)), bn__running_var=(F32, (4,)), head=(F32, (2, 4)),
    bn__num_batches_tracked=(np.int64, ()), wide=(F64, (2,)), mask=(np.bool_, (3,)), none=(F32, (0,)),
)  # fmt: skip


def test_every_element_has_one_place_and_neighbours_of_a_kind_are_one_run() -> None:
    assert shown(Grid(NET).runs) == [
        ("WHOLE", 0, 1, ["bn.num_batches_tracked"]),
        ("STEPPED", 1, 2, ["wide"]),
        ("PLAIN", 3, 4, ["bn.running_var"]),
        ("STEPPED", 7, 24, ["conv.bias", "conv.weight", "head", "none"]),
        ("TRUTH", 31, 3, ["mask"]),
    ]
    assert Grid(NET).size == 34


def test_plain_is_what_a_session_says_it_is() -> None:
    grid = Grid(NET, ["conv.*"])
    assert grid.names(Kind.PLAIN) == ("conv.bias", "conv.weight")
    assert grid.kind("bn.running_var") is Kind.STEPPED
    assert grid.not_stepped == {"bn.num_batches_tracked", "conv.bias", "conv.weight", "mask"}


def test_joined_runs_pass_over_floats_of_both_kinds_at_once() -> None:
    runs = Grid(NET).line_up(NET, joined=True)
    assert [names for *_, names in shown(runs)][2] == ["bn.running_var", "conv.bias", "conv.weight", "head", "none"]


def test_a_blob_in_another_order_is_lined_up_by_name() -> None:
    """As a writer without dtype order may lay it out: the runs are cut where the base's bytes lie elsewhere."""
    base = layout(a=(F32, (2,)), b=(F32, (3,)), c=(F32, (4,)))
    header = (
        b'{"c":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"a":{"dtype":"F32","shape":[2],"data_offsets":[16,24]},'
        b'"b":{"dtype":"F32","shape":[3],"data_offsets":[24,36]}}'
    )
    blob = read_layout(len(header).to_bytes(8, "little") + header, 8 + len(header) + 36)
    runs = Grid(base).line_up(blob)
    assert shown(runs) == [("STEPPED", 5, 4, ["c"]), ("STEPPED", 0, 5, ["a", "b"])]
    assert [run.offset for run in runs] == [blob["c"].offset, blob["a"].offset]
    assert [run.base_offset for run in runs] == [base["c"].offset, base["a"].offset]


def test_an_element_of_a_run_knows_its_tensor() -> None:
    run = Grid(NET).runs[3]
    found = [run.tensor_at(element) for element in (0, 3, 4, 15, 16, 23)]
    assert [(tensor.name, start) for tensor, start in found] == [
        ("conv.bias", 0), ("conv.bias", 0), ("conv.weight", 4), ("conv.weight", 4), ("head", 16), ("head", 16),
    ]  # fmt: skip


def test_few_answers_are_kept_however_many_headers_come() -> None:
    """A stranger chooses his header's text: without a bound he would choose the server's memory too."""
    grid = Grid(NET)
    arrays = {tensor.name: np.zeros(tensor.shape, tensor.dtype) for tensor in NET.tensors}
    for number in range(50):
        data = Safetensors().dumps(arrays, {"run": str(number)})
        assert shown(grid.line_up(read_layout(data, len(data)))) == shown(grid.runs)
    assert len(grid._known) <= 8
