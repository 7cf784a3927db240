#!/usr/bin/python
# MIT or Apache-2.0, at your choice: see LICENSE-MIT and LICENSE-APACHE of login_duo

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
---
module: config
short_description: Put a configuration of login_duo or pam_duo in place
description:
  - The whole file is handed to C(duoctl configure) by standard input.
  - C(duoctl) asks Duo whether it takes the keys, and only then the file takes the place of the old one.
  - A key that is not given is not in the file, and so at its default.
version_added: 0.2.0
author: The login_duo contributors (@login-duo)
options:
  usage:
    description: Which front end reads the file. C(login) is C(login_duo.conf), C(pam) is C(pam_duo.conf).
    type: str
    choices: [login, pam]
    default: login
  path:
    description: Another file than C(/etc/duo/login_duo.conf) or C(/etc/duo/pam_duo.conf).
    type: path
  ikey:
    description: The integration key, from the Duo Admin Panel.
    type: str
  skey:
    description: The secret key. It goes to C(duoctl) by standard input alone.
    type: str
  host:
    description: The API host name, such as C(api-1a2b3c4d.duosecurity.com).
    type: str
  failmode:
    description: Whether a login is allowed while Duo cannot be reached.
    type: str
    choices: [safe, secure, codes]
  groups:
    description: Who is asked. Pattern-lists of group names, as in the file; blanks separate them.
    type: str
  group:
    description: The same key by its other name; both add up.
    type: str
  pushinfo:
    description: Show the command in the push.
    type: bool
  autopush:
    description: The first attempt takes the default factor, without a menu.
    type: bool
  accessible:
    description: Plain lines alone, for screen readers.
    type: bool
  verified_push:
    description: Tell Duo that the code of a Verified Push can be shown here.
    type: bool
  prompts:
    description: Attempts, 1 to 10.
    type: int
  motd:
    description: Print C(/etc/motd) after success.
    type: bool
  accept_env_factor:
    description: Take the first answer from C(DUO_PASSCODE), if the client sends it.
    type: bool
  fallback_local_ip:
    description: Where the address of the client is unknown, tell Duo the one of this host.
    type: bool
  https_timeout:
    description: Seconds to wait for one answer of Duo; 0 for no limit.
    type: int
  http_proxy:
    description: The way to Duo. It may hold a password, and goes the way of the secret key.
    type: str
  cafile:
    description: Trust the certificates of this PEM file instead of the built-in roots.
    type: path
  noverify:
    description: Do not check the certificate of Duo. For tests only.
    type: bool
  min_tls:
    description: The oldest version of TLS that is spoken; 1.0 and 1.1 mean 1.2.
    type: str
    choices: ['1.0', '1.1', '1.2', '1.3']
  prompt_for_commands:
    description: Show the menu also on a terminal that came with a command.
    type: bool
  signature:
    description: The hash in the signature of a request.
    type: str
    choices: [sha512, sha1]
  sandbox:
    description: Shut in the process that talks to Duo.
    type: bool
  remember:
    description: "What one yes of a person counts for: this login, or all sessions of this connection."
    type: str
    choices: ['no', connection]
  remember_max:
    description: How long one yes counts at most, from 1m to 24h.
    type: str
  syslog_facility:
    description: Where syslog and the journal sort the lines of a login.
    type: str
    choices: [authpriv, auth, user, local0, local1, local2, local3, local4, local5, local6, local7]
  send_gecos:
    description: The Duo user name is the whole GECOS field.
    type: bool
  gecos_delim:
    description: What stands between the parts of the GECOS field.
    type: str
  gecos_username_pos:
    description: The Duo user name is this part of the GECOS field, from 1.
    type: int
  gecos_parsed:
    description: Deprecated. It does nothing.
    type: bool
  dev_fips_mode:
    description: Deprecated. It does nothing.
    type: bool
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
- name: Configure login_duo
  login_duo.login_duo.config:
    ikey: DIXXXXXXXXXXXXXXXXXX
    skey: "{{ vault_duo_skey }}"
    host: api-1a2b3c4d.duosecurity.com
    groups: "*,!no-duo"
"""

RETURN = r"""
keys:
  description: The names of the keys that get another value. No value is returned.
  type: list
  elements: str
  returned: when the file differs
said:
  description: What duoctl says for people.
  type: list
  elements: str
  returned: always
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.login_duo.login_duo.plugins.module_utils import duoctl

FACILITIES = ['authpriv', 'auth', 'user'] + ['local%d' % number for number in range(8)]

KEYS = dict(
    ikey=dict(type='str'),
    skey=dict(type='str', no_log=True),
    host=dict(type='str'),
    failmode=dict(type='str', choices=['safe', 'secure', 'codes']),
    groups=dict(type='str'),
    group=dict(type='str'),
    pushinfo=dict(type='bool'),
    autopush=dict(type='bool'),
    accessible=dict(type='bool'),
    verified_push=dict(type='bool'),
    prompts=dict(type='int'),
    motd=dict(type='bool'),
    accept_env_factor=dict(type='bool'),
    fallback_local_ip=dict(type='bool'),
    https_timeout=dict(type='int'),
    http_proxy=dict(type='str', no_log=True),
    cafile=dict(type='path'),
    noverify=dict(type='bool'),
    min_tls=dict(type='str', choices=['1.0', '1.1', '1.2', '1.3']),
    prompt_for_commands=dict(type='bool'),
    signature=dict(type='str', choices=['sha512', 'sha1']),
    sandbox=dict(type='bool'),
    remember=dict(type='str', choices=['no', 'connection']),
    remember_max=dict(type='str'),
    syslog_facility=dict(type='str', choices=FACILITIES),
    send_gecos=dict(type='bool'),
    gecos_delim=dict(type='str'),
    gecos_username_pos=dict(type='int'),
    gecos_parsed=dict(type='bool'),
    dev_fips_mode=dict(type='bool'),
)

# The order in which keys stand in the file: the same settings are the same bytes.
ORDER = [
    'ikey',
    'skey',
    'host',
    'failmode',
    'groups',
    'group',
    'pushinfo',
    'autopush',
    'accessible',
    'verified_push',
    'prompts',
    'motd',
    'accept_env_factor',
    'fallback_local_ip',
    'https_timeout',
    'http_proxy',
    'cafile',
    'noverify',
    'min_tls',
    'prompt_for_commands',
    'signature',
    'sandbox',
    'remember',
    'remember_max',
    'syslog_facility',
    'send_gecos',
    'gecos_delim',
    'gecos_username_pos',
    'gecos_parsed',
    'dev_fips_mode',
]

PATHS = dict(login='/etc/duo/login_duo.conf', pam='/etc/duo/pam_duo.conf')


def line(module, key, value):
    """One line of the file. A value cannot become another line, or a comment."""
    if isinstance(value, bool):
        value = 'yes' if value else 'no'
    value = str(value)
    begins_a_comment = value.startswith(';') and key != 'gecos_delim'
    if begins_a_comment or any(mark in value for mark in ('\n', '\r', '\0', ' ;', '\t;')):
        module.fail_json(msg="the value of '%s' would not fit on a line of its own" % key)
    return '%s = %s\n' % (key, value)


def main():
    spec = dict(usage=dict(type='str', choices=['login', 'pam'], default='login'), path=dict(type='path'))
    spec.update(KEYS)
    spec.update(duoctl.COMMON)
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    if module.check_mode and not duoctl.is_installed(module):
        module.exit_json(changed=True, said=['duoctl is not installed yet, so the keys are not proved'])
    given = [(key, module.params[key]) for key in ORDER if module.params[key] is not None]
    lines = [line(module, key, value) for key, value in given]
    text = '; Written by Ansible, and replaced by its next run.\n[duo]\n' + ''.join(lines)
    path = module.params['path'] or PATHS[module.params['usage']]
    answer, told = duoctl.run(module, ['configure', '-c', path, '-'], text)
    module.exit_json(keys=answer.get('keys', []), **told)


if __name__ == '__main__':
    main()
