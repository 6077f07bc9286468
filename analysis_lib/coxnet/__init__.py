"""AutoEncoder and Cox network, from scaling to a saved model; knows no study."""
