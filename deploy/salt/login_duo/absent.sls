{%- from "login_duo/map.jinja" import install, packages, install_script with context %}
include:
  - login_duo.disabled

login_duo_programs:
{%- if install == 'binary' %}
  cmd.run:
    - name: {{ install_script }} --uninstall --purge
    - onlyif: test -e /usr/sbin/login_duo
{%- else %}
  pkg.purged:
    - pkgs: {{ packages | json }}
{%- endif %}
    - require:
      - login_duo: login_duo_disabled

# The configuration goes with its secret key.
{%- for file in ['login_duo.conf', 'pam_duo.conf'] %}
{%- for ending in ['', '.before', '.undone'] %}
/etc/duo/{{ file }}{{ ending }}:
  file.absent:
    - require:
{%- if install == 'binary' %}
      - cmd: login_duo_programs
{%- else %}
      - pkg: login_duo_programs
{%- endif %}
{% endfor %}
{%- endfor %}
