"""Peers of our user vectors: the same plays in, one vector for each user and item out.

=======  ===========================================================  ==========================
name     what it is                                                   paper
=======  ===========================================================  ==========================
als      weighted least squares over all of users x items             Hu et al., ICDM 2008
nmf      non-negative factors of log counts                           Lee and Seung, NIPS 2000
pmf      Gaussian factors of ratings made of plays and sampled zeros  Salakhutdinov, NIPS 2007
lightfm  sums of vectors of ids and tags, WARP loss                   Kula, CBRecSys 2015
dlrm     dot products of ids, tags and amounts under a network        Naumov et al., 2019
vae      variational autoencoder with a softmax over items            Liang et al., WWW 2018
ease     linear model of items by items, cut down by SVD              Steck, WWW 2019
sasrec   causal transformer over the last hundred plays               Kang, ICDM 2018
=======  ===========================================================  ==========================

Each is a frozen model of its hyperparameters. Importing the package imports none of the libraries
behind it: a baseline loads its own when it is fitted.
"""

from models.baselines.als import ALS
from models.baselines.baseline import Baseline
from models.baselines.dlrm import DLRM
from models.baselines.ease import EASE
from models.baselines.interactions import Interactions, Representation
from models.baselines.light_fm import LightFM
from models.baselines.nmf import NMF
from models.baselines.pmf import PMF
from models.baselines.sasrec import SASRec
from models.baselines.vae import VAE

__all__ = ["BASELINES", "Baseline", "Interactions", "Representation"]

BASELINES: dict[str, type[Baseline]] = {
    "als": ALS,
    "nmf": NMF,
    "pmf": PMF,
    "lightfm": LightFM,
    "dlrm": DLRM,
    "vae": VAE,
    "ease": EASE,
    "sasrec": SASRec,
}
