{%- from "login_duo/map.jinja" import state with context %}
include:
{%- if state == 'absent' %}
  - login_duo.absent
{%- elif state == 'disabled' %}
  - login_duo.disabled
{%- elif state == 'enabled' %}
  - login_duo.enabled
{%- else %}
  - login_duo.present
{%- endif %}
