"""What scikit-learn asks of every estimator, none of which is about how well chains and modes are searched for."""

import warnings

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from abpnet.estimator import GeneratorNetwork
from estimators import FAST

pytestmark = pytest.mark.usefixtures("searches_shortened")


@parametrize_with_checks([GeneratorNetwork(**FAST)])
def test_scikit_learn_contract(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)
