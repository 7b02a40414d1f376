"""runtime_cuda"""
