#!/usr/bin/python
# MIT or Apache-2.0, at your choice: see LICENSE-MIT and LICENSE-APACHE of login_duo

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
---
module: check
short_description: What C(duoctl check) finds on a host
description:
  - It changes nothing, rings no phone, and ends within a minute.
  - It fails where something would deny a login or open the door wrongly.
version_added: 0.2.0
author: The login_duo contributors (@login-duo)
options:
  as_user:
    description: Say too whether this account would be asked, and why.
    type: str
  accept:
    description: Findings that shall not make it fail, by their ids.
    type: list
    elements: str
    default: []
  duoctl:
    description: The program.
    type: path
    default: /usr/sbin/duoctl
"""

EXAMPLES = r"""
- name: See whether all is well
  login_duo.login_duo.check:
"""

RETURN = r"""
findings:
  description: What was found, as C(docs/check.schema.json) of login_duo describes it.
  type: list
  elements: dict
  returned: always
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.login_duo.login_duo.plugins.module_utils import duoctl


def main():
    spec = dict(as_user=dict(type='str'))
    spec.update(duoctl.COMMON)
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    if not duoctl.is_installed(module):
        module.fail_json(msg='%s is not installed' % module.params['duoctl'])
    arguments = ['check']
    if module.params['as_user']:
        arguments += ['--as', module.params['as_user']]
    answer = duoctl.ask(module, arguments)[1]
    findings = answer['findings']
    failures = [it for it in findings if it['level'] == 'fail' and it['id'] not in module.params['accept']]
    if failures:
        why = '; '.join('%s [%s]' % (it['text'], it['id']) for it in failures)
        module.fail_json(msg=why, findings=findings, changed=False)
    module.exit_json(findings=findings, changed=False)


if __name__ == '__main__':
    main()
