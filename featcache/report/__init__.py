"""What people see: progress, tables and pages. Nothing here decides anything."""
