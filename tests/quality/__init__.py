"""Quality of the output detectors on labelled, generated samples and on clean text (output policy spec §16.8)."""
