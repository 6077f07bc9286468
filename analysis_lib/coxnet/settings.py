"""Settings of AutoEncoder and Cox network (sections ``autoencoder`` and ``network`` of a parameter file)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from analysis_lib.common.settings import Fraction, Positive, Section, Width


class AutoEncoderParams(Section):
    """AutoEncoder from the features to the variables of the network."""

    code_size: int = Field(100, gt=0, description="Variables kept.")
    hidden: list[Width] = Field(default_factory=list, description="Widths of layers between input and code.")
    activation: Literal["linear", "relu", "tanh", "selu", "elu"] = Field(
        "elu", description="Activation of the hidden layers."
    )
    code_activation: Literal["linear", "relu", "tanh", "selu", "elu", "sigmoid"] = Field(
        "linear", description="Activation of the code; linear keeps what PCA keeps, tanh loses a tenth of it."
    )
    noise: float = Field(0.4, ge=0, description="SD of Gaussian noise on the scaled input while training.")
    l1_code: float = Field(0.0, ge=0, description="L1 penalty on the code (sparsity).")
    l2: float = Field(1e-5, ge=0, description="L2 penalty on the weights.")
    learning_rate: Positive = Field(2e-3, description="Adam learning rate.")
    batch_size: int = Field(64, gt=0, description="Patients in a step.")
    max_epochs: int = Field(200, gt=0, description="Upper limit of epochs.")
    patience: int = Field(20, gt=0, description="Epochs without better validation loss before stopping.")
    validation_fraction: Fraction = Field(0.2, description="Share of training patients for early stopping.")
    clip: Positive = Field(5.0, description="Scaled features are clipped at this many SDs.")
    joint: bool = Field(
        False,
        description="Train AutoEncoder and Cox network as one; false is the paper's two steps, one after the other.",
    )
    joint_weight: Positive = Field(
        0.1, description="With joint: weight of the partial likelihood per event beside the reconstruction error."
    )
    compare_folds: int = Field(5, ge=2, description="Folds in the training set that compare two steps with joint.")


class NetworkParams(Section):
    """TFDeepSurv: the Cox proportional hazards network."""

    rotate: bool = Field(
        True,
        description="Turn more than 10 inputs to their principal axes, so that strong directions are learnt first.",
    )
    hidden: list[Width] = Field(default_factory=lambda: [32, 16], description="Widths of hidden layers.")
    activation: Literal["relu", "tanh", "selu", "elu"] = Field("elu", description="Hidden activation.")
    dropout: float = Field(0.1, ge=0, lt=1, description="Dropout on the hidden layers.")
    l1: float = Field(0.0, ge=0, description="L1 penalty on the weights.")
    l2: float = Field(1e-4, ge=0, description="L2 penalty on the weights.")
    ties: Literal["efron", "breslow"] = Field("efron", description="Handling of tied deaths.")
    strata: Literal["none", "centre", "set"] = Field(
        "none",
        description="Training patients are compared only with those of the same centre or set; baseline hazard of all.",
    )
    optimizer: Literal["sgd", "adam", "rmsprop"] = Field("adam", description="Optimiser.")
    learning_rate: Positive = Field(
        1e-2, description="Initial learning rate; for d > 10 inputs it is divided by sqrt(d / 10)."
    )
    decay_rate: Positive = Field(1.0, le=1, description="Learning rate factor every decay_steps steps.")
    decay_steps: int = Field(100, gt=0, description="Steps between two decays.")
    max_epochs: int = Field(1000, gt=0, description="Upper limit of full-batch epochs.")
    patience: int = Field(50, gt=0, description="Epochs without better validation loss before stopping.")
    validation_fraction: Fraction = Field(0.2, description="Share of training patients for early stopping.")
    ensemble: int = Field(10, ge=1, description="Networks over as many seeds; their mean risk counts.")
    linear_partner: bool = Field(
        False,
        description="Combine the networks' mean log-risk with ridge and elastic-net Cox on the scaled features; "
        "false is the paper's network.",
    )
    c_index_every: int = Field(5, gt=0, description="Steps between two C-indices of the learning curve.")
