{%- from "login_duo/map.jinja" import install, packages, package_ensure, package_files, binary, install_script with context %}
{%- if install == 'repository' %}
login_duo_programs:
  pkg.{{ 'latest' if package_ensure == 'latest' else 'installed' }}:
    - pkgs: {{ packages | json }}
{%- elif install == 'files' %}
login_duo_programs:
  pkg.installed:
    - sources:
{%- for name, path in package_files.items() %}
      - {{ name }}: {{ path }}
{%- endfor %}
{%- elif install == 'binary' %}
{%- set folder = binary.rsplit('/', 1)[0] %}
login_duo_programs:
  cmd.run:
    - name: {{ install_script }} --binary {{ binary }}
    - unless:
      - cmp -s {{ folder }}/login_duo /usr/sbin/login_duo
      - cmp -s {{ folder }}/duoctl /usr/sbin/duoctl
      - cmp -s {{ folder }}/pam-duo-helper /usr/libexec/login_duo/pam-duo-helper
{%- else %}
login_duo_programs:
  test.nop
{%- endif %}
