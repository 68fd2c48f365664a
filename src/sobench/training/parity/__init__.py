"""Several implementations of one algorithm, from the same weights on the same batches: where do they part?"""
