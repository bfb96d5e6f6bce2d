"""The tables beside the robustness table: one file and one function for each."""
