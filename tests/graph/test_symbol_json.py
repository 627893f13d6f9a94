"""A graph's JSON is checked before anybody runs it, and written as MXNet writes it."""
import copy
import json

from arcface_mxnet.graph.operators import FORBIDDEN, OPERATORS
from arcface_mxnet.graph.symbol_json import ordered, read_file, read_json, write_json
from arcface_mxnet.runtime.errors import InputError

import pytest
from hypothesis import given, settings, strategies


def _variable(name, **attrs):
    return {"op": "null", "name": name, "attrs": attrs, "inputs": []}


def _graph():
    """Convolution, BatchNorm, dense layer: a graph MXNet takes."""
    nodes = [
        _variable("data"), _variable("c_weight"), _variable("c_bias"),
        {"op": "Convolution", "name": "c", "attrs": {"kernel": "(3, 3)", "num_filter": "4"},
         "inputs": [[0, 0, 0], [1, 0, 0], [2, 0, 0]]},
        *[_variable(f"bn_{part}") for part in ("gamma", "beta", "moving_mean", "moving_var")],
        {"op": "BatchNorm", "name": "bn", "attrs": {"eps": "2e-05"},
         "inputs": [[3, 0, 0], [4, 0, 0], [5, 0, 0], [6, 0, 1], [7, 0, 1]]},
        _variable("f_weight"),
        {"op": "FullyConnected", "name": "f", "attrs": {"num_hidden": "8", "no_bias": "True"},
         "inputs": [[8, 0, 0], [9, 0, 0]]}]
    return {"nodes": nodes, "arg_nodes": [0, 1, 2, 4, 5, 6, 7, 9], "heads": [[10, 0, 0]],
            "attrs": {"mxnet_version": ["int", 10901]}}


CONVOLUTION, NORM, DENSE = 3, 8, 10


def _put(path, value):
    """The graph with the value at `path` replaced; None takes it away."""
    graph = _graph()
    place = graph
    for key in path[:-1]:
        place = place[key]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return json.dumps(graph)


def _refusal(text, **options):
    with pytest.raises(InputError) as caught:
        read_json(text, "net-symbol.json", **options)
    said = str(caught.value)
    assert said.startswith("net-symbol.json: ") and "\n" not in said
    return said


@pytest.mark.parametrize("path, value, said", [
    (("nodes", NORM, "op"), "_Native", "node bn (_Native): this operator runs code"),
    (("nodes", NORM, "op"), "Custom", "node bn (Custom): this operator runs code"),
    (("nodes", NORM, "op"), "LRN", "node bn (LRN): not an operator this program knows"),
    (("nodes", NORM, "inputs"), [], "node bn (BatchNorm): it has 0 inputs; it needs 5: data, gamma, beta"),
    (("nodes", NORM, "inputs"), [[3, 0, 0]] * 5, "its moving_mean is no variable"),
    (("nodes", NORM, "inputs", 0), [8, 0, 0], "it takes node 8, which does not stand before it"),
    (("nodes", NORM, "inputs", 0), [10, 0, 0], "it takes node 10, which does not stand before it"),
    (("nodes", NORM, "inputs", 0), [-1, 0, 0], "[-1, 0, 0] is no input"),
    (("nodes", NORM, "inputs", 0), [3, True, 0], "is no input"),
    (("nodes", NORM, "inputs", 0), [3.0, 0, 0], "is no input"),
    (("nodes", NORM, "inputs", 0), [3, 1, 0], "it takes output 1 of c, which has 1"),
    (("nodes", NORM, "inputs"), {"a": 1}, "its inputs are no list of nodes"),
    (("nodes", NORM, "attrs", "eps"), "nan", "eps is 'nan'; it must be a number of at least 0"),
    (("nodes", NORM, "attrs", "eps"), 1, "its attributes are no texts by name"),
    (("nodes", NORM, "attrs", "axis"), "99", "axis is '99'"),
    (("nodes", CONVOLUTION, "attrs", "num_group"), "0", "node c (Convolution): num_group is '0'; it must be a whole"),
    (("nodes", CONVOLUTION, "attrs", "num_group"), "3", "num_filter 4 cannot be divided into 3 groups"),
    (("nodes", CONVOLUTION, "attrs", "num_filter"), "-4", "num_filter is '-4'"),
    (("nodes", CONVOLUTION, "attrs", "kernel"), "(3, 0)", "kernel is '(3, 0)'"),
    (("nodes", CONVOLUTION, "attrs", "kernel"), "(3, 3, 3, 3, 3)", "kernel is"),
    (("nodes", CONVOLUTION, "attrs", "kernel"), "__import__('os')", "kernel is"),
    (("nodes", CONVOLUTION, "attrs", "kernel"), None, "kernel is missing"),
    (("nodes", CONVOLUTION, "attrs", "stride"), "(0, 1)", "stride is"),
    (("nodes", CONVOLUTION, "attrs", "stride"), "(1, 1, 1)", "stride (1, 1, 1) has another length than kernel (3, 3)"),
    (("nodes", CONVOLUTION, "attrs", "pad"), "(-1, 1)", "pad is"),
    (("nodes", CONVOLUTION, "attrs", "pad"), "(2000000000, 1)", "pad is"),
    (("nodes", CONVOLUTION, "attrs", "stretch"), "2", "unknown attribute 'stretch'; it has kernel, stride"),
    (("nodes", CONVOLUTION, "attrs", "no_bias"), "True", "it has 3 inputs; it needs 2: data, weight"),
    (("nodes", CONVOLUTION, "subgraphs"), [{"nodes": []}], "it holds a graph of its own"),
    (("nodes", CONVOLUTION, "control_deps"), [3], "it has control dependencies"),
    (("nodes", DENSE, "attrs", "num_hidden"), "0", "num_hidden is '0'"),
    (("nodes", 1, "name"), "data", "two variables are named data"),
    (("nodes", 1, "name"), "da\nta", "node 1: it has no operator and name"),
    (("nodes", 1, "inputs"), [[0, 0, 0]], "a variable has no inputs"),
    (("nodes", 1, "attrs", "__shape__"), "oops", "__shape__ is 'oops'"),
    (("nodes", 1), ["null", "c"], "node 1: it has no operator and name"),
    (("heads",), [], "it has no heads"),
    (("heads",), [[11, 0, 0]], "the graph's outputs: it takes node 11"),
    (("heads",), [[10, 7, 0]], "it takes output 7 of f, which has 1"),
    (("nodes",), [], "it has 0 nodes"),
    (("nodes",), None, "it has no nodes"),
    (("attrs", "mxnet_version"), "new", "its mxnet_version is no number"),
])
def test_refusals_name_the_node_and_what_is_wrong(path, value, said):
    assert said in _refusal(_put(path, value))


@pytest.mark.parametrize("text, said", [
    ("", "not an MXNet symbol"), ("[1, 2]", "it has no nodes"), ('{"nodes": [NaN]}', "NaN is no JSON number"),
    ('{"nodes": ' + "[" * 3000 + "]" * 3000 + "}", "nested more than 24 levels deep"),
    ('{"nodes": [' + "9" * 5000 + "]}", "a number of 5000 digits"),
])
def test_texts_that_are_no_graph(text, said):
    assert said in _refusal(text)


def test_an_operator_can_be_admitted_by_name_but_not_one_that_runs_code():
    text = _put(("nodes", NORM, "op"), "LRN")
    assert "admit it by --allow-operator LRN" in _refusal(text)
    head, = read_json(text, "net-symbol.json", allow=["LRN"])
    assert [node.op for node in ordered([head]) if not node.is_variable] == ["Convolution", "LRN", "FullyConnected"]
    for op in FORBIDDEN:
        _refusal(_put(("nodes", NORM, "op"), op), allow=[op])


def test_a_whole_graph_is_read_and_written_as_mxnet_does():
    mx = pytest.importorskip("mxnet")
    text = json.dumps(_graph())
    assert write_json(read_json(text, "net")) == mx.sym.load_json(text).tojson(remove_amp_cast=False)


@pytest.mark.parametrize("number", (10, 11))
def test_long_lists_of_inputs_are_laid_out_as_mxnet_does(number):
    mx = pytest.importorskip("mxnet")
    parts = [mx.sym.Variable(f"part{index}") for index in range(number)]
    text = mx.sym.Group([mx.sym.concat(*parts, dim=1), *parts]).tojson()
    assert write_json(read_json(text, "net")) == text


def test_published_graphs_are_written_as_mxnet_writes_them(fixtures):
    """Of MXNet 0.8 to 1.0, with all their forms."""
    mx = pytest.importorskip("mxnet")
    paths = sorted(fixtures.glob("*/*symbol.json"))
    assert len(paths) >= 9
    for path in paths:
        assert write_json(read_file(path)) == mx.sym.load(str(path)).tojson(remove_amp_cast=False), path.name


def test_statistics_and_multipliers_of_old_files():
    """Before 0.9 statistics were no inputs, multipliers had no underscores, attributes were called param or attr."""
    graph = _graph()
    del graph["attrs"]
    graph["nodes"][CONVOLUTION] = {"op": "Convolution", "name": "c", "param": {"kernel": "(3,3)", "num_filter": "4"},
                                   "attr": {"weight_lr_mult": "2.0", "lr_mult": "3.0"}, "backward_source_id": -1,
                                   "inputs": [[0, 0], [1, 0], [2, 0]]}
    del graph["nodes"][6:8]
    graph["arg_nodes"] = [0, 1, 2, 4, 5, 7]
    graph["nodes"][6]["inputs"] = [[3, 0], [4, 0], [5, 0]]
    graph["nodes"][8]["inputs"] = [[6, 0], [7, 0]]
    graph["heads"] = [[8, 0]]
    text = json.dumps(graph)
    nodes = {node.name: node for node in ordered(read_json(text, "net"))}
    assert [source.name for source, _ in nodes["bn"].inputs] == [
        "c", "bn_gamma", "bn_beta", "bn_moving_mean", "bn_moving_var"]
    assert nodes["c_weight"].attrs == {"__lr_mult__": "2.0"} and nodes["c"].attrs["__lr_mult__"] == "3.0"
    mx = pytest.importorskip("mxnet")
    theirs = mx.sym.load_json(text).tojson(remove_amp_cast=False)
    assert write_json(read_json(text, "net")) == theirs.replace("[6, 0, 0], [7, 0, 0]", "[6, 0, 1], [7, 0, 1]")


def test_fused_operators_of_eight_bits_hold_one_checked_graph():
    inner = {"nodes": [_variable("a"), _variable("w"), {
        "op": "Convolution", "name": "c", "attrs": {"kernel": "(1, 1)", "num_filter": "4", "no_bias": "True"},
        "inputs": [[0, 0, 0], [1, 0, 0]]}], "arg_nodes": [0, 1], "heads": [[2, 0, 0]]}
    graph = {"nodes": [_variable("data"), _variable("w"), _variable("low"), _variable("high"), {
        "op": "_sg_mkldnn_conv", "name": "q", "attrs": {"quantized": "true"},
        "inputs": [[0, 0, 0], [1, 0, 0], [2, 0, 0], [3, 0, 0]], "subgraphs": [inner]}], "heads": [[4, 0, 0]],
        "attrs": {"mxnet_version": ["int", 10901]}}
    assert read_json(json.dumps(graph), "net")[0][0].op == "_sg_mkldnn_conv"
    for path, value, said in (
            (("subgraphs",), [], "it must hold one graph"), (("inputs",), [[0, 0, 0]], "it has 1 inputs; it needs 4"),
            (("subgraphs", 0, "nodes", 2, "op"), "_Native", "inside q: node c (_Native): this operator runs code"),
            (("subgraphs", 0, "nodes", 2, "op"), "sum", "inside q: node c (sum): not an operator"),
            (("attrs", "with_sum"), "true", "no Convolution with what its attributes say")):
        changed = copy.deepcopy(graph)
        place = changed["nodes"][4]
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        assert said in _refusal(json.dumps(changed))


def test_files_that_hold_no_graph(tmp_path):
    path = tmp_path / "net-symbol.json"
    with pytest.raises(InputError, match="not found"):
        read_file(path)
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(InputError, match="a Git LFS pointer, not the file itself; fetch it with `git lfs pull`"):
        read_file(path)
    path.write_bytes(b"\xff\xfe{}")
    with pytest.raises(InputError, match="not UTF-8"):
        read_file(path)
    with open(path, "wb") as stream:
        stream.truncate(2 ** 32)
    with pytest.raises(InputError, match="4294967296 bytes where at most 16777216 are read"):
        read_file(path)


_VALUES = strategies.one_of(
    strategies.none(), strategies.booleans(), strategies.integers(-3, 12), strategies.text(max_size=5),
    strategies.sampled_from(["(3, 3)", "0", "-1", "nan", "True", *sorted(OPERATORS), *sorted(FORBIDDEN)]),
    strategies.lists(strategies.integers(-1, 11), max_size=4), strategies.dictionaries(
        strategies.text(max_size=3), strategies.text(max_size=3), max_size=2))


def _places(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _places(item, (*path, key))


@settings(max_examples=300)
@given(strategies.lists(strategies.tuples(strategies.sampled_from(list(_places(_graph()))[1:]), _VALUES), min_size=1,
                        max_size=3))
def test_any_change_is_taken_or_refused_in_one_line(changes):
    graph = _graph()
    for path, value in changes:
        place = graph
        try:
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = value
        except (KeyError, TypeError, IndexError):
            continue
    try:
        heads = read_json(json.dumps(graph), "net")
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert read_json(write_json(heads), "again")
