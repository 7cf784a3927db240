#!/usr/bin/python
# MIT or Apache-2.0, at your choice: see LICENSE-MIT and LICENSE-APACHE of login_duo

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
---
module: written
short_description: Take away the configurations that C(duoctl) has made
description:
  - They go with what C(duoctl) keeps of them, by its own record. No other file goes.
  - They stay where C(duoctl) says that something reads them, or where there is no C(duoctl) to ask.
    Duo's C program lets everybody in without its configuration.
  - The record goes in any case, so that no purge of the packages takes a file that stays.
  - It fails where login_duo or the module is still in use.
version_added: 0.2.0
author: The login_duo contributors (@login-duo)
options:
  state:
    description: What shall be.
    type: str
    choices: [absent]
    required: true
  duoctl:
    description: The program.
    type: path
    default: /usr/sbin/duoctl
"""

EXAMPLES = r"""
- name: Disable
  login_duo.login_duo.service:
    usage: all
    state: disabled

- name: Take away what duoctl has written
  login_duo.login_duo.written:
    state: absent
"""

RETURN = r"""
removed:
  description: The files that were taken away.
  type: list
  elements: str
  returned: always
stays:
  description: The files of the record that stay, since something may read them.
  type: list
  elements: str
  returned: always
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.login_duo.login_duo.plugins.module_utils import duoctl

RECORD = '/var/lib/login_duo/written'


def recorded():
    """The files that are there of what the record names, with what duoctl keeps beside each."""
    with open(RECORD, 'rb') as record:
        lines = record.read().decode('utf-8', 'surrogateescape').splitlines()
    files = [line + ending for line in lines if line.startswith('/') for ending in ('', '.before', '.undone')]
    return sorted(set(file for file in files if os.path.lexists(file)))


def who_reads_them(module):
    """Why they must stay; nothing, where duoctl says that nobody reads them."""
    if not duoctl.is_installed(module):
        return '%s, which knows who reads them, is not installed' % module.params['duoctl']
    for what in ('program', 'module'):
        why = duoctl.who_uses(module, what)
        if why:
            module.fail_json(msg='still in use, and nothing was removed: %s' % why)
    return duoctl.who_uses(module, 'configuration')


def main():
    spec = dict(
        state=dict(type='str', choices=['absent'], required=True),
        duoctl=duoctl.COMMON['duoctl'],
    )
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    if not os.path.lexists(RECORD):
        module.exit_json(changed=False, removed=[], stays=[])
    # What is enabled yet is in use, and in check mode nothing was disabled before.
    if module.check_mode:
        module.exit_json(changed=True, removed=[], stays=[])
    files = recorded()
    why = who_reads_them(module)
    if not why:
        for file in files:
            os.remove(file)
        os.remove(RECORD)
        module.exit_json(changed=True, removed=files, stays=[])
    os.remove(RECORD)
    warning = '%s stay: %s. Remove them by hand, once nothing reads them.' % (', '.join(files), why)
    if files:
        module.warn(warning)
    module.exit_json(changed=True, removed=[], stays=files, msg=warning if files else '')


if __name__ == '__main__':
    main()
