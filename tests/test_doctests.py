"""The examples of every docstring of the installed package run and print what they say."""

import doctest
import importlib
import pkgutil

import numpy as np
import pytest
import scipy_doctest

import gdcore

MODULES = ["gdcore", *(info.name for info in pkgutil.walk_packages(gdcore.__path__, "gdcore."))]
UFUNCS = [value for value in vars(gdcore).values() if isinstance(value, np.ufunc)]

# Numbers are compared as numbers, since levels may differ in the last bits; 1.0 is np.float64(1.0).
# No word or comment in an example exempts it.
CONFIG = scipy_doctest.DTConfig(
    rtol=1e-6,
    atol=1e-12,
    default_namespace={"np": np, "gd": gdcore},
    optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS,
    stopwords=set(),
    rndm_markers=set(),
)


def run(module, **options):
    """Results of a module's own docstrings: how many examples were tried, how many failed."""
    return scipy_doctest.testmod(module, config=CONFIG, verbose=0, **options)[0]


@pytest.mark.parametrize("name", MODULES)
def test_examples_of(name):
    assert run(importlib.import_module(name)).failed == 0


@pytest.mark.parametrize("ufunc", UFUNCS, ids=lambda ufunc: ufunc.__name__)
def test_examples_of_ufunc(ufunc):
    results = run(gdcore, strategy=[ufunc])
    assert results.attempted > 0
    assert results.failed == 0


def test_a_wrong_example_fails():
    def half(x):
        """
        >>> 1 / 2
        0.500001
        """

    assert run(gdcore, strategy=[half]).failed == 1
