# Whatever was enabled goes, and nothing else is done: it works without Duo.
login_duo_disabled:
  login_duo.disabled:
    - usage: all
