"""Channels that read a history in order: SASRec and BERT4Rec, one file each over the same parts."""
