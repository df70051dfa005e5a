"""Peers of our user vectors: the same plays in, one vector for each user and item out.

=======  ===========================================================  ==========================
name     what it is                                                   paper
=======  ===========================================================  ==========================
als      weighted least squares over all of users x items             Hu et al., ICDM 2008
nmf      non-negative factors of log counts                           Lee and Seung, NIPS 2000
ease     linear model of items by items, cut down by SVD              Steck, WWW 2019
=======  ===========================================================  ==========================

Each is a frozen model of its hyperparameters. Importing the package imports none of the libraries
behind it: a baseline loads its own when it is fitted.
"""

from models.baselines.als import ALS
from models.baselines.baseline import Baseline
from models.baselines.ease import EASE
from models.baselines.interactions import Interactions, Representation
from models.baselines.nmf import NMF

__all__ = ["BASELINES", "Baseline", "Interactions", "Representation"]

BASELINES: dict[str, type[Baseline]] = {
    "als": ALS,
    "nmf": NMF,
    "ease": EASE,
}
