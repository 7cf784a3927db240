{%- from "login_duo/map.jinja" import install, packages_to_remove, install_script with context %}
include:
  - login_duo.disabled

# Before the packages: duoctl says whether anything still reads the configurations, and without its
# record no purge takes a file.
login_duo_written:
  login_duo.erased:
    - require:
      - login_duo: login_duo_disabled

login_duo_programs:
{%- if install == 'binary' %}
  cmd.run:
    - name: {{ install_script }} --uninstall
    - onlyif: test -e /usr/sbin/login_duo
{%- else %}
  pkg.purged:
    - pkgs: {{ packages_to_remove | json }}
{%- endif %}
    - require:
      - login_duo: login_duo_written
