#!/usr/bin/python
# MIT or Apache-2.0, at your choice: see LICENSE-MIT and LICENSE-APACHE of login_duo

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
---
module: service
short_description: Have sshd run login_duo, or services of PAM ask Duo
description:
  - C(duoctl) judges everything first, and takes all of it back if anything is not as it should be.
version_added: 0.2.0
author: The login_duo contributors (@login-duo)
options:
  usage:
    description: The style. C(login) is login_duo behind sshd, C(pam) is pam_duo.so, C(all) is whatever is enabled.
    type: str
    choices: [login, pam, all]
    required: true
  state:
    description:
      - C(confirmed) keeps what C(enabled) did with I(confirm), and is refused in the session that enabled.
    type: str
    choices: [enabled, confirmed, disabled]
    default: enabled
  ssh_group:
    description: Ask the members of this group only.
    type: str
  ssh_users:
    description: Ask these accounts only.
    type: list
    elements: str
    default: []
  ssh_exempt:
    description: Leave these accounts out.
    type: list
    elements: str
    default: []
  pam_services:
    description: The services.
    type: list
    elements: str
    choices: [sshd, sudo, su, login]
    default: []
  pam_with:
    description: What sshd asks for before Duo.
    type: str
    choices: [keys, passwords]
  confirm:
    description: Take everything back after this time, such as C(10m), unless it is confirmed.
    type: str
  test_user:
    description: First ask Duo for this account; it may ring a phone.
    type: str
  accept:
    description: Findings of C(duoctl) that shall not keep it from going on, by their ids.
    type: list
    elements: str
    default: []
  duoctl:
    description: The program.
    type: path
    default: /usr/sbin/duoctl
"""

EXAMPLES = r"""
- name: Have sshd ask the members of a group
  login_duo.login_duo.service:
    usage: login
    ssh_group: duo-users
    confirm: 10m
  register: login_duo_enabled

- name: Take a new connection
  ansible.builtin.meta: reset_connection

- name: Keep it, since one can log in
  login_duo.login_duo.service:
    usage: all
    state: confirmed
"""

RETURN = r"""
taken_back_in_seconds:
  description: How long it is waited for the state C(confirmed); null where nothing waits.
  type: int
  returned: always
said:
  description: What duoctl says for people.
  type: list
  elements: str
  returned: always
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.login_duo.login_duo.plugins.module_utils import duoctl


def enable_ssh(params):
    arguments = ['enable', 'ssh', '--yes']
    if params['ssh_group']:
        arguments += ['--group', params['ssh_group']]
    if params['ssh_users']:
        arguments += ['--user-list', ','.join(params['ssh_users'])]
    for user in params['ssh_exempt']:
        arguments += ['--exempt', user]
    return arguments


def enable_pam(params):
    arguments = ['enable', 'pam', '--yes'] + params['pam_services']
    if params['pam_with']:
        arguments += ['--with', params['pam_with']]
    return arguments


def arguments_of(params):
    """The command line of duoctl that makes it so."""
    if params['state'] == 'confirmed':
        return ['confirm', '--yes']
    if params['state'] == 'disabled':
        what = dict(login=['ssh'], pam=['pam'] + (params['pam_services'] or ['all']), all=['all'])
        return ['disable', '--yes'] + what[params['usage']]
    arguments = dict(login=enable_ssh, pam=enable_pam)[params['usage']](params)
    if params['confirm']:
        arguments += ['--confirm', params['confirm']]
    if params['test_user']:
        arguments += ['--test-user', params['test_user']]
    return arguments


def main():
    spec = dict(
        usage=dict(type='str', choices=['login', 'pam', 'all'], required=True),
        state=dict(type='str', choices=['enabled', 'confirmed', 'disabled'], default='enabled'),
        ssh_group=dict(type='str'),
        ssh_users=dict(type='list', elements='str', default=[]),
        ssh_exempt=dict(type='list', elements='str', default=[]),
        pam_services=dict(type='list', elements='str', choices=['sshd', 'sudo', 'su', 'login'], default=[]),
        pam_with=dict(type='str', choices=['keys', 'passwords']),
        confirm=dict(type='str'),
        test_user=dict(type='str'),
    )
    spec.update(duoctl.COMMON)
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    params = module.params
    if params['ssh_group'] and params['ssh_users']:
        module.fail_json(msg='ssh_group and ssh_users exclude each other')
    if params['state'] == 'enabled' and params['usage'] == 'all':
        module.fail_json(msg="the state 'enabled' is for one usage: login or pam")
    if not duoctl.is_installed(module):
        if params['state'] != 'enabled':
            module.exit_json(changed=False, taken_back_in_seconds=None, said=['duoctl is not installed'])
        if module.check_mode:
            said = ['duoctl is not installed yet, so nothing is judged']
            module.exit_json(changed=True, taken_back_in_seconds=None, said=said)
    answer, told = duoctl.run(module, arguments_of(params))
    module.exit_json(taken_back_in_seconds=answer.get('taken_back_in_seconds'), **told)


if __name__ == '__main__':
    main()
