"""Networks: every count of docs/original.md, section 2, the released graphs, the released weights in our graph."""
import dataclasses
import hashlib
import json

from arcface_mxnet.engines.mxnet.convert import to_mxnet
from arcface_mxnet.engines.mxnet.executor import forward
from arcface_mxnet.engines.mxnet.untrained import untrained
from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.graph.checkpoint import align, load, load_params, load_symbol
from arcface_mxnet.graph.describe import count_flops, format_flops
from arcface_mxnet.recognition.networks import NetworkSettings, build, families
from arcface_mxnet.recognition.presets import NETWORKS
from arcface_mxnet.runtime.errors import InputError

import numpy
import pytest

IMAGE = (1, 3, 112, 112)

# depth: arguments, states, parameters, values of states, FLOPs (docs/original.md, section 2.3)
FRESNET = {
    18: (94, 62, 24025600, 14720, 5216096256), 34: (166, 110, 34139328, 25856, 8914217984),
    49: (238, 158, 43590848, 38144, 12612791296), 50: (238, 158, 43590848, 38144, 12612791296),
    74: (346, 230, 55996864, 55040, 18160450560), 90: (418, 278, 63677120, 65792, 21858823168),
    98: (454, 302, 71945408, 75008, 23708511232), 99: (463, 308, 69584320, 73472, 24170431488),
    100: (463, 308, 65156160, 69632, 24169929728), 101: (319, 212, 54223808, 51968, 16773686272),
    124: (571, 380, 86414912, 91136, 29717890048), 134: (616, 410, 87897536, 98048, 32029699072),
    136: (625, 416, 86422080, 97280, 32491719680), 140: (643, 428, 87013696, 98816, 33416162304),
    152: (472, 314, 70765760, 75008, 24632753152), 160: (733, 488, 90857408, 107264, 38038475776),
    200: (616, 410, 75498688, 87296, 32028294144), 269: (823, 548, 115061696, 125696, 42661341184),
}
# changed settings of fresnet 50: parameters (docs/original.md, section 2.3)
FRESNET50 = [
    ({"net_unit": 1}, 43585920), ({"net_unit": 2}, 43582656), ({"net_se": 1}, 43820120),
    ({"net_unit": 1, "net_se": 1}, 43815192), ({"net_unit": 2, "net_se": 1}, 43811928),
    ({"net_input": 0}, 34947776), ({"net_input": 2}, 43590854),
    ({"net_output": "FC"}, 43590848), ({"net_output": "I"}, 43590848), ({"net_output": "J"}, 43589824),
    ({"net_output": "F"}, 43589824), ({"net_output": "G"}, 43589824), ({"net_output": "H"}, 43588800),
    ({"net_output": "GAP"}, 31008448), ({"net_output": "GNAP"}, 30745280), ({"net_output": "GDC"}, 31033024),
    ({"net_output": "SFC"}, 35210432), ({"net_output": "Z"}, 30744256),
]
# preset: arguments, states, parameters, values of states, FLOPs (docs/original.md, sections 2.4 to 2.8)
OTHERS = {
    "y1": (184, 100, 1003264, 19584, 439821056), "y2": (378, 206, 1996288, 38400, 933336950),
    "m1": (115, 58, 3400960, 23424, 1132662629), "m05": (115, 58, 982016, 12480, 296705381),
    "mnas": (199, 108, 3260556, 39968, 597881670), "mnas05": (199, 108, 925400, 20240, 163954630),
    "mnas025": (199, 108, 286782, 10376, 48221190),
    "d169": (679, 342, 54228263, 162752, 6599875072), "d201": (807, 406, 66259783, 233920, 8474701312),
    "vargfacenet": (308, 158, 4957512, 41744, 1022388952),
}
# arguments and states by name, with their shapes (docs/original.md, sections 2.4 to 2.8)
NAMED = {
    "y1": {"conv_1_conv2d_weight": (64, 3, 3, 3), "conv_1_relu_gamma": (64,), "conv_2_dw_conv2d_weight": (64, 1, 3, 3),
           "dconv_23_conv_sep_conv2d_weight": (128, 64, 1, 1), "res_3_block0_conv_proj_batchnorm_beta": (64,),
           "conv_6dw7_7_conv2d_weight": (512, 1, 7, 7), "pre_fc1_weight": (128, 512)},
    "m1": {"conv_1_conv2d_weight": (32, 3, 3, 3), "conv_14_conv2d_weight": (1024, 1024, 1, 1),
           "conv_6dw7_7_conv2d_weight": (512, 2, 7, 7)},
    "mnas": {"mnasnet0_stage1_conv0_conv0_weight": (32, 3, 3, 3),
             "mnasnet0_stage1_sepconv0_conv1_weight": (16, 32, 1, 1), "mnasnet0_stage1_sepconv0_prelu1_alpha": (1,),
             "mnasnet0_stage3_expandedconv0_dwise_conv0_weight": (72, 1, 5, 5),
             "mnasnet0_stage3_expandedconv1_dwise_conv0_weight": (120, 1, 3, 3),
             "mnasnet0_stage5_2_expandedconv0_linear_batchnorm0_running_var": (320,),
             "mnasnet0_stage5_3_conv0_weight": (1024, 320, 1, 1)},
    "d169": {"densenet0_conv0_weight": (64, 3, 3, 3), "densenet0_stage4_conv63_weight": (32, 128, 3, 3),
             "densenet0_stage1_prelu0_alpha": (1,), "densenet0_batchnorm4_running_mean": (1664,),
             "pre_fc1_weight": (512, 1664 * 49)},
    "vargfacenet": {"vargface_head_conv1_weight": (40, 3, 3, 3),
                    "vargface_stage_2_unit_1_sep1_data_branch_conv2d_depthwise_weight": (80, 8, 3, 3),
                    "vargface_stage_4_unit_4_sep2_data_conv2d_pointwise_weight": (320, 640, 1, 1),
                    "embed_convx_depthwise_weight": (1024, 8, 7, 7), "pre_fc1_weight": (512, 512)},
}
# changed head of y1: parameters (docs/original.md, section 2.4)
Y1_HEADS = [("E", 128, 4123904), ("FC", 128, 4123904), ("E", 512, 13758848), ("GAP", 128, 978688),
            ("GNAP", 128, 979200), ("GNAP", 512, 913280), ("GDC", 512, 1201024), ("J", 128, 4122880)]


def _settings(preset, **changes):
    """The network part of a preset (it may name training settings, too)."""
    known = {field.name for field in dataclasses.fields(NetworkSettings)}
    return NetworkSettings(**{**{key: value for key, value in NETWORKS[preset].items() if key in known}, **changes})


def _values(symbol):
    """(number of parameters, values in the states)."""
    args, _, aux = symbol.infer_shape(data=IMAGE)
    sizes = [int(numpy.prod(shape)) for name, shape in zip(symbol.list_arguments(), args) if name != "data"]
    return sum(sizes), sum(int(numpy.prod(shape)) for shape in aux)


def _counts(symbol):
    return (len(symbol.list_arguments()) - 1, len(symbol.list_auxiliary_states()), *_values(symbol),
            count_flops(symbol, IMAGE))


def _nodes(symbol):
    return json.loads(symbol.tojson())["nodes"]


@pytest.mark.parametrize("depth", sorted(FRESNET))
def test_fresnet_has_the_published_counts(depth):
    assert _counts(build(NetworkSettings(num_layers=depth))) == FRESNET[depth]


@pytest.mark.parametrize("changes,parameters", FRESNET50, ids=lambda value: str(value))
def test_variants_of_fresnet_have_the_published_counts(changes, parameters):
    assert _values(build(NetworkSettings(**changes)))[0] == parameters


@pytest.mark.parametrize("unit,arguments", [(1, 214), (2, 206), (3, 238)])
def test_units_have_the_published_number_of_arguments(unit, arguments):
    assert len(build(NetworkSettings(net_unit=unit)).list_arguments()) - 1 == arguments


def test_squeeze_and_excitation_has_the_published_number_of_arguments():
    assert len(build(NetworkSettings(net_se=1)).list_arguments()) - 1 == 358


@pytest.mark.parametrize("preset", sorted(OTHERS))
def test_other_families_have_the_published_counts(preset):
    assert _counts(build(_settings(preset))) == OTHERS[preset]


@pytest.mark.parametrize("preset", sorted(NAMED))
def test_arguments_have_the_published_names_and_shapes(preset):
    symbol = build(_settings(preset))
    args, _, aux = symbol.infer_shape(data=IMAGE)
    shapes = {**dict(zip(symbol.list_arguments(), args)), **dict(zip(symbol.list_auxiliary_states(), aux))}
    assert {name: shapes.get(name) for name in NAMED[preset]} == NAMED[preset]


def test_vargfacenet_with_squeeze_has_the_published_count():
    assert _values(build(_settings("vargfacenet", net_se=1)))[0] == 5198292


@pytest.mark.parametrize("preset,eps", [("y1", 1e-3), ("m1", 1e-3), ("mnas", 1e-5), ("d121", 1e-5), ("r18", 2e-5),
                                        ("vargfacenet", 2e-5)])
def test_normalisations_have_the_published_eps(preset, eps):
    """docs/original.md, section 2.1; the last one, fc1, always has 2e-5 and a fixed scale."""
    norms = [node for node in _nodes(build(_settings(preset))) if node["op"] == "BatchNorm"]
    assert norms[-1]["name"] == "fc1" and norms[-1]["attrs"]["fix_gamma"] == "True"
    trunk = [node for node in norms[:-1] if node["name"] not in ("bn1", "conv_6dw7_7_batchnorm")]
    assert {float(node["attrs"].get("eps", 1e-3)) for node in trunk} == {eps}
    assert float(norms[-1]["attrs"]["eps"]) == 2e-5


@pytest.mark.parametrize("output,size,parameters", Y1_HEADS)
def test_heads_of_y1_have_the_published_counts(output, size, parameters):
    assert _values(build(_settings("y1", net_output=output, emb_size=size)))[0] == parameters


@pytest.mark.parametrize("preset", sorted(NETWORKS))
def test_every_preset_builds_twice_alike_and_ends_in_the_embedding(preset):
    settings = _settings(preset)
    symbol = build(settings)
    sym.Variable("between") + 1  # takes an automatic name outside
    assert symbol.tojson() == build(settings).tojson()
    assert symbol.list_outputs() == ["fc1_output"]
    assert symbol.infer_shape(data=(2,) + settings.input_shape[1:])[1] == [(2, settings.emb_size)]


@pytest.mark.parametrize("name,preset,file", [
    ("y1", "y1", "y1-symbol.json"), ("r34", "r34", "r34-amf-symbol.json"), ("r50", "r50", "r50-am-lfw-symbol.json")])
def test_our_graph_is_the_published_one_node_by_node(fixtures, name, preset, file):
    published = _nodes(load_symbol(fixtures / "published_graphs" / file))
    ours = _nodes(build(_settings(preset)))
    assert len(ours) == len(published)
    for left, right in zip(ours, published):
        if name == "y1" and right["name"] == "fc1_weight":  # the one known difference: name and training multipliers
            assert left["name"] == "pre_fc1_weight" and left["op"] == right["op"] == "null"
        else:
            assert left == right


ORIGINAL_GRAPHS = {  # made from what the current code's get_symbol of each family gives (docs/original.md, section 2)
    "r100": "1aa5de0ae6aba5592c7091f8c08b3ff2bf4f080a3cdc1eca6a1e790ee06d389a",
    "r100fc": "cb8d4f5d6b8384818c929244f8eb6142a13f47984d6e263a1080072088ca16d4",
    "r50": "9c658bd5648896e5fb8947c4d16d11e106a63d73b259416723a054df5990c812",
    "r50v1": "3f7fd820b0349600cbce43a4269dd378305713ccf0fefa0bae989f71693811fd",
    "d169": "4a1e54de19285267b5d43b5df9a939a5bf90bb63e5a98f9e074fed52c8231af4",
    "d201": "335271cdc48c3d5b8222682423e694360aae75f38b8771c69474cd1ea3f0a918",
    "y1": "e58101dfd8db811c332e5075db3b7f336656d2527c3ff776bb9cb7cfce460543",
    "y2": "c7360ccc802471c221251f2494f18bd243c3c3aea580218a2315eeaddd56afeb",
    "m1": "480cc8b05713c99cf263ff01fc466b109740bfb933830db187cfbbbf1e1e9233",
    "m05": "b4910b1dc7e120c56b735755fcce336ba9f44e6bae37f4894d76d5cd3b5554ef",
    "mnas": "70afe77045e18fb9ff3c171c161b70ca07aea5b2ceb2225f471ce1a0f8b23e0b",
    "mnas05": "dd4f0b1375cfc87ac4afe0e868baf244a73164b6a5f9eb262e8b4a246b8a8255",
    "mnas025": "27c725db82272c7a4c71f05bbbdf6d72f4e90fee61b599b1577ae67b4d226f7d",
    "vargfacenet": "77b40208152422da6d281f34e144694e00c06a17ba3e660f6cdfb72dc184c775",
}
# What a convolution does when nothing is said: MXNet stores it as it was said.
UNSAID = {"dilate": ("()", "(1, 1)"), "stride": ("()", "(1, 1)"), "pad": ("()", "(0, 0)")}


def meaning(symbol):
    """SHA-256 of what a graph computes and of its names: attributes with their defaults, without hints to cuDNN."""
    kept = [[node.op, node.name, [] if node.is_variable else sorted(
        (key, str(value)) for key, value in node.values().items()
        if key != "workspace" and "cudnn" not in key and str(value) not in UNSAID.get(key, ())),
        [[source.name, which] for source, which in node.inputs]] for node in symbol.nodes()]
    return hashlib.sha256(json.dumps(kept).encode()).hexdigest()


@pytest.mark.parametrize("preset", ORIGINAL_GRAPHS)
def test_our_graph_is_the_one_the_current_code_builds(preset):
    """Nodes, order, names, attributes: so a checkpoint of either is one of the other."""
    assert meaning(build(_settings(preset))) == ORIGINAL_GRAPHS[preset]


GOLDEN = [  # norm, sum, first five of the embedding of the published y1 (docs/original.md, section 2.9)
    ("i mod 256", 3.27151, -4.38366, (0.10158, -0.07641, 0.40288, 0.06547, -0.52354)),
    ("zeros", 3.26549, -1.89260, (0.02155, -0.41628, -0.09101, 0.72233, -0.11586)),
    ("127.5", 3.02670, -3.49757, (0.31774, 0.00589, 0.33183, 0.25251, -0.40275)),
    ("congruential", 3.42091, 5.14238, (0.11240, 0.25608, 0.22748, 0.15143, -0.24744)),
]


def golden_images():
    """The four images of docs/original.md, section 2.9, float32 (4, 3, 112, 112)."""
    index = numpy.arange(3 * 112 * 112, dtype=numpy.int64)
    images = [index % 256, index * 0, index * 0 + 127.5, ((1103515245 * index + 12345) >> 16) % 256]
    return numpy.stack(images).reshape(4, 3, 112, 112).astype("float32")


def _embed(checkpoint, images):
    return forward(checkpoint, {"data": images})[0]


def test_published_weights_give_the_golden_embeddings_in_our_graph(fixtures):
    published = load(str(fixtures / "published_y1" / "model"), 0)
    args, aux = load_params(fixtures / "published_y1" / "model-0000.params")
    ours = align(build(_settings("y1")), args, aux, "published y1")
    images = golden_images()
    embeddings = numpy.concatenate([_embed(ours, images[i:i + 1]) for i in range(4)])
    theirs = numpy.concatenate([_embed(published, images[i:i + 1]) for i in range(4)])
    assert embeddings.tobytes() == theirs.tobytes()
    for row, (_, norm, total, first) in zip(embeddings, GOLDEN):
        assert abs(numpy.linalg.norm(row) - norm) < 2e-5 and abs(row.sum() - total) < 2e-4
        numpy.testing.assert_allclose(row[:5], first, atol=1.5e-5)


SMALL = {"net_multiplier": 0.25, "net_blocks": (1, 1, 1, 1)}


def _random_outputs(symbol, of):
    """Outputs of the nodes `of` for two images under untrained weights."""
    checkpoint = untrained(symbol, IMAGE, images=2)
    group = sym.Group([symbol.get_internals()[name] for name in of])
    images = numpy.random.RandomState(3).randint(0, 256, (2, 3, 112, 112)).astype("float32")
    values = {name: checkpoint.args[name] for name in group.list_arguments() if name != "data"}
    states = {name: checkpoint.aux[name] for name in group.list_auxiliary_states()}
    return forward(type(checkpoint)(group, values, states), {"data": images})


@pytest.mark.parametrize("output", ["GAP", "GNAP", "SFC", "F", "Z", "A", "BX", "C", "DX"])
def test_rarer_heads_run(output):
    symbol = build(_settings("y1", net_output=output, **SMALL))
    rows = _random_outputs(symbol, [symbol.list_outputs()[0]])[0].reshape(2, -1)
    assert numpy.isfinite(rows).all() and abs(rows[0] - rows[1]).max() > 1e-3


def test_the_norm_aware_head_weighs_positions_to_equal_length():
    """After the weighting of GNAP every position of every image has the mean length of the whole batch."""
    symbol = build(_settings("y1", net_output="GNAP", **SMALL))
    weighting = [name for name in symbol.get_internals().list_outputs() if name.startswith("broadcast_mul")][0]
    given, weighed = _random_outputs(symbol, ["bn6f_output", weighting])
    lengths = numpy.sqrt((given.astype("float64") ** 2).sum(1))
    assert lengths.std() > 0.01 * lengths.mean()
    numpy.testing.assert_allclose(numpy.sqrt((weighed.astype("float64") ** 2).sum(1)),
                                  numpy.full_like(lengths, lengths.mean()), rtol=1e-5)


def test_half_precision_casts_in_and_out():
    symbol = build(NetworkSettings(num_layers=18, fp16=True))
    types, outputs, _ = to_mxnet(symbol).infer_type(data="float32")
    by_name = dict(zip(symbol.list_arguments(), types))
    assert by_name["stage3_unit2_conv2_weight"] == numpy.float16
    assert by_name["stage4_unit1_conv1_weight"] == outputs[0] == numpy.float32


def test_the_multiplier_scales_widths_and_one_is_the_published_graph():
    small = build(_settings("y1", net_multiplier=0.5))
    shapes = dict(zip(small.list_arguments(), small.infer_shape(data=IMAGE)[0]))
    assert shapes["conv_1_conv2d_weight"] == (32, 3, 3, 3) and shapes["conv_6dw7_7_conv2d_weight"] == (256, 1, 7, 7)


@pytest.mark.parametrize("changes,message", [
    ({"net_name": "fvgg"}, "unknown network family 'fvgg'; known: "), ({"num_layers": 51}, "num_layers"),
    ({"net_unit": 4}, "net_unit"), ({"net_output": "Q"}, "net_output"), ({"net_input": 3}, "net_input"),
    ({"emb_size": 0}, "emb_size"), ({"net_multiplier": 0}, "net_multiplier"), ({"bn_mom": 1}, "bn_mom"),
    ({"net_name": "fmobilefacenet", "net_blocks": (1, 2)}, "net_blocks"), ({"densenet_dropout": 1}, "densenet_dropout"),
    ({"image_shape": (112, 112)}, "image_shape")])
def test_a_setting_nobody_has_is_refused_by_name(changes, message):
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        build(NetworkSettings(**changes))


def test_operations_of_a_graph_follow_the_rule_of_the_original():
    """A grouped convolution and two dense layers, by a count in a loop over outputs."""
    data = sym.Variable("data")
    net = sym.Convolution(data, num_filter=6, kernel=(3, 5), num_group=3, stride=(2, 1), pad=(1, 0), no_bias=True)
    net = sym.FullyConnected(sym.Convolution(net, num_filter=2, kernel=(1, 1)), num_hidden=7)
    net = sym.FullyConnected(net, num_hidden=3, no_bias=True)
    width = 2 * 5 * 6
    first = sum((2 * 3 * 3 * 5 - 1) / 3 for _ in range(6 * 5 * 6))
    assert count_flops(net, (1, 3, 10, 10)) == int(first) + 2 * 6 * width + 2 * width * 7 + 2 * 7 * 3 - 3
    assert [format_flops(n) for n in (439821056, 24169929728, 950, 1200)] == ["439.8M", "24.2G", "950.0", "1.2K"]
    with pytest.raises(InputError, match="cannot take images"):
        count_flops(build(_settings("y1")), (1, 3, 30, 30))


def test_families_are_found_by_their_files():
    assert {"fdensenet", "fmnasnet", "fmobilefacenet", "fmobilenet", "fresnet", "vargfacenet"} <= set(families())
    assert {preset.net_name for preset in NETWORKS.values()} <= set(families())
