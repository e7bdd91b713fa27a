"""The floor under all rooms: errors, seeds, whole files, logs, the registry of plug-ins."""
