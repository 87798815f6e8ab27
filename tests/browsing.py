"""A real browser for the tests of pages, which logs what it fetches."""

import contextlib
import os
import shutil

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

CHROMEDRIVER = shutil.which("chromedriver")


@contextlib.contextmanager
def chrome():
    """Chromium without a window; SCREENSHOT= keeps a picture of what it showed last."""
    options = webdriver.ChromeOptions()
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(flag)
    options.add_argument("--window-size=1400,1000")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(CHROMEDRIVER))
    yield driver
    if os.environ.get("SCREENSHOT"):
        driver.save_screenshot(os.environ["SCREENSHOT"])
    driver.quit()
