"""Sources → rows → gates → mix → a built dataset. Never imports torch or axolotl."""
