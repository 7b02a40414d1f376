"""checker_fast"""
