"""The tables of the paper and beyond, as tidy frames: one module a table or figure."""

MODEL = "TFDeepSurv"
OUTCOMES = {"OS": ("os_months", "os_event"), "RFS": ("rfs_months", "rfs_event")}
