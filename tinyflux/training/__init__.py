"""train: the loop over a data set, and the engines that make its updates."""
