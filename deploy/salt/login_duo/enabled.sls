{%- from "login_duo/map.jinja" import usage, pam_services with context %}
{%- set unwanted = ['sshd', 'sudo', 'su', 'login'] | difference(pam_services) %}
include:
  - login_duo.present

login_duo_enabled:
  login_duo.enabled:
    - usage: {{ usage }}
    - require:
      - login_duo: login_duo_configuration

# The new style is enabled before the old one is disabled.
login_duo_other_usage:
  login_duo.disabled:
    - usage: {{ 'pam' if usage == 'login' else 'login' }}
    - require:
      - login_duo: login_duo_enabled
{%- if usage == 'pam' and unwanted %}

login_duo_unwanted_services:
  login_duo.disabled:
    - usage: pam
    - services: {{ unwanted | json }}
    - require:
      - login_duo: login_duo_enabled
{%- endif %}
