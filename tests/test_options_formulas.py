"""The published formulas: their factors give the equations that they were published as."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pynst.options import TransferOptions
from pynst.options.formulas import FORMULAS

N, M, L = 7, 30, 5
RNG = np.random.default_rng(0)
F, P = RNG.random((N, M)), RNG.random((N, M))
G, A = F @ F.T, P @ P.T  # of Eq. 3: not divided by M


def content_loss(formula, alpha, F=F, P=P):
    V = np.mean((P - P.mean(1, keepdims=True)) ** 2)
    return formula.content_factor(alpha, N, M, V, np.mean(P**2)) * np.mean((F - P) ** 2)


def style_loss(formula, beta, G=G, A=A):
    energy = np.sum((A / M) ** 2)
    return formula.style_factor(beta, 1.0, L, N, energy) * np.sum((G / M - A / M) ** 2)


def test_the_paper_has_equations_1_4_and_5():
    paper = FORMULAS["paper"]
    assert content_loss(paper, 3.0) == pytest.approx(3.0 * 0.5 * np.sum((F - P) ** 2))
    E = np.sum((G - A) ** 2) / (4 * N**2 * M**2)
    assert style_loss(paper, 3.0) == pytest.approx(3.0 / L * E)


@pytest.mark.parametrize("name", ["gatys", "johnson"])
def test_the_implementations_take_mean_squared_differences_of_gram_matrices_per_entry(name):
    assert content_loss(FORMULAS[name], 3.0) == pytest.approx(3.0 * np.mean((F - P) ** 2))
    wanted = 3.0 * np.mean(((G - A) / (N * M)) ** 2)
    assert style_loss(FORMULAS[name], 3.0) == pytest.approx(wanted)


def test_balanced_terms_do_not_depend_on_the_scale_of_the_features():
    balanced = FORMULAS["balanced"]
    scaled = content_loss(balanced, 3.0, 100 * F, 100 * P)
    assert scaled == pytest.approx(content_loss(balanced, 3.0))
    scaled = style_loss(balanced, 3.0, 10**4 * G, 10**4 * A)
    assert scaled == pytest.approx(style_loss(balanced, 3.0))


@pytest.mark.parametrize("name", FORMULAS)
def test_a_flat_or_black_picture_has_finite_positive_factors(name):
    for V, energy in ((0.0, 1.0), (0.0, 0.0)):
        k_c = FORMULAS[name].content_factor(1.0, N, M, V, energy)
        k_l = FORMULAS[name].style_factor(1.0, 1.0, L, N, energy)
        assert 0 < k_c < math.inf
        assert 0 < k_l < math.inf


@pytest.mark.parametrize("name", FORMULAS)
def test_every_formula_is_a_setting_and_says_where_it_was_published(name):
    assert TransferOptions(formula=name).formula == name
    assert FORMULAS[name].source
