"""The customer-base forecaster: who will buy, how often and for how much, from an order log alone."""

from ml.forecast.forecaster import CustomerBaseForecaster, TooFewCustomers

__all__ = ["CustomerBaseForecaster", "TooFewCustomers"]
