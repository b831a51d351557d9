"""`golem eval`: measures the accuracy of the models on recordings and utterances that the user provides."""
