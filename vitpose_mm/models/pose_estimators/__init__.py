from .topdown_vitpose import TopdownViTPose

__all__ = ['TopdownViTPose']
