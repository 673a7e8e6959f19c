"""Methods of pretraining: networks, losses and views; `cards.methods` is their registry."""
