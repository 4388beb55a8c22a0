"""The one sensor that evaluates the automation conditions of all assets."""

import dagster as dg

automation = dg.AutomationConditionSensorDefinition(
    name="automation",
    target=dg.AssetSelection.all(),
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=10,
    description="Asks for assets whose condition says that it is time: what depends on dropped data, once it is there.",
)
