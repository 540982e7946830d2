import jaxtyping
import pytest
import torch

import abpnet
import type_checks
from abpnet.explaining import decode
from abpnet.networks import LinearNetwork

WRONG = torch.zeros(4, 2, dtype=torch.int64)


@pytest.mark.parametrize("again", [False, True], ids=["in a test", "and in the next"])
def test_the_first_calls_of_a_function_are_checked(again):
    model = abpnet.GeneratorModel(LinearNetwork(2, (3,)), (2,))
    with pytest.raises(jaxtyping.TypeCheckError, match="z: Float"):
        decode(model, WRONG)
    for _ in range(type_checks.CALLS):
        decode(model, torch.zeros(4, 2))
    with pytest.raises(RuntimeError, match="dtype"):
        decode(model, WRONG)


def test_none_is_checked_where_wrong_types_are_to_come_in(types_unchecked):
    with pytest.raises(RuntimeError, match="dtype"):
        decode(abpnet.GeneratorModel(LinearNetwork(2, (3,)), (2,)), WRONG)
