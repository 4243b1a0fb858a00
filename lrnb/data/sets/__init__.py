"""One module for each data set; its ``DATASET`` is entered in `lrnb.data.DATASETS`."""
