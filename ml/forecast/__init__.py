"""The customer-base forecaster: who will buy, how often and for how much, from an order log alone."""

from ml.forecast.forecaster import CustomerBaseForecaster, NotEnoughData

__all__ = ["CustomerBaseForecaster", "NotEnoughData"]
