"""`tamis experiment plan`: what an A/B test of the project could find."""

from tamis.service import ExperimentPlan, Plan, plan_experiment

__all__ = ["ExperimentPlan", "Plan", "plan_experiment"]
