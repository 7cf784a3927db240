# MIT or Apache-2.0, at your choice: see LICENSE-MIT and LICENSE-APACHE of login_duo
"""One run of duoctl and its answer. What duoctl decides is not decided again here."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import json
import os

PROGRAM = '/usr/sbin/duoctl'

COMMON = dict(
    duoctl=dict(type='path', default=PROGRAM),
    accept=dict(type='list', elements='str', default=[]),
)


def is_installed(module):
    return os.access(module.params['duoctl'], os.X_OK)


def ask(module, arguments, text=''):
    """Runs duoctl and returns its exit status and the object that it printed.

    `text` goes to standard input: an argument could be read by every user of the host (ps).
    """
    command = [module.params['duoctl']] + arguments + ['--json']
    status, out, err = module.run_command(
        command, data=text, binary_data=True, environ_update=dict(LC_ALL='C.UTF-8'))
    try:
        return status, json.loads(out)
    except ValueError:
        module.fail_json(msg='duoctl %s: %s' % (arguments[0], err.strip() or out.strip()), rc=status)


def who_uses(module, what):
    """Who would be locked out, or let in without Duo, if that were removed. Nothing: nobody.

    Only the exit status 0 is a yes of duoctl.
    """
    status, out, err = module.run_command(
        [module.params['duoctl'], 'check', '--unused', what], environ_update=dict(LC_ALL='C.UTF-8'))
    if status == 0:
        return ''
    return '; '.join((out + err).splitlines()) or 'duoctl check --unused %s: %d' % (what, status)


def run(module, arguments, text=''):
    """Has duoctl do it, or say what it would do, and ends the module where it refuses."""
    if module.check_mode:
        arguments = arguments + ['--dry-run']
    for finding in module.params['accept']:
        arguments = arguments + ['--accept', finding]
    status, answer = ask(module, arguments, text)
    told = dict(changed=answer['changed'] or answer['would_change'], said=answer['said'])
    for warning in answer['warnings']:
        module.warn(warning)
    if status != 0:
        why = answer['error']
        if answer['way_back']:
            why += '. The way back: ' + answer['way_back']
        module.fail_json(msg=why, rc=status, **told)
    return answer, told
