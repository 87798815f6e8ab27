"""Did it learn the voice, does it still reason, does it still see: base against tuned on the same questions."""
