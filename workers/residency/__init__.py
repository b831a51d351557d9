"""Who may be in device memory: one owner, one pure decision, one reader of the device."""
