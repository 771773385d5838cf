"""The expected calibration error, worked by hand."""

import numpy as np
import pytest

from headwater.metrics import expected_calibration_error


def test_values_worked_by_hand() -> None:
    chances, happened = np.array([0.9, 0.8, 0.1]), np.array([True, False, False])
    # Two bins: of 0.9 and 0.8 one happened, |1.7 - 1| / 3; of 0.1 none did, |0.1 - 0| / 3.
    assert expected_calibration_error(chances, happened, bins=2) == pytest.approx(0.8 / 3)
    assert expected_calibration_error(np.array([1.0, 0.0]), np.array([True, False])) == 0.0
    assert expected_calibration_error(np.array([1.0, 0.0]), np.array([False, True])) == 1.0


def test_chances_that_come_true_as_often_as_they_say_are_calibrated() -> None:
    random = np.random.default_rng(0)
    chances = random.random(200_000)
    assert expected_calibration_error(chances, random.random(len(chances)) < chances) < 0.01
