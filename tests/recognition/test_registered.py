"""What a new loss or network must be entered in beside its own file, so that no place is found late."""
from arcface_mxnet.recognition.engine.setup import GAUSSIAN_FAMILIES
from arcface_mxnet.recognition.losses import families as losses
from arcface_mxnet.recognition.networks import families as networks
from benchmarks.losses import FORMULAS


def test_every_loss_has_its_formula_in_the_table_of_trained_losses():
    assert set(FORMULAS) == set(losses())


def test_families_with_gaussian_values_exist():
    assert set(GAUSSIAN_FAMILIES) <= set(networks())
