{%- from "login_duo/map.jinja" import usage with context %}
include:
  - login_duo.install

login_duo_configuration:
  login_duo.configured:
    - usage: {{ usage }}
    - require:
      - sls: login_duo.install
