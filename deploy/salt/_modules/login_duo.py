# MIT or Apache-2.0, at your choice: see LICENSE-MIT and LICENSE-APACHE of login_duo
"""duoctl, for Salt: configure, enable, disable and check.

Settings come from the pillar ``login_duo`` and are read here, so that no rendered SLS holds the
secret key. What duoctl decides is not decided again here.
"""

import json
import os
import subprocess

from salt.exceptions import CommandExecutionError

__virtualname__ = 'login_duo'

PROGRAM = '/usr/sbin/duoctl'
# What duoctl has made, one path a line.
RECORD = '/var/lib/login_duo/written'


def __virtual__():
    return __virtualname__


def _text(value):
    """A text."""
    return isinstance(value, str) and value != ''


def _absolute(value):
    """An absolute path."""
    return _text(value) and value.startswith('/')


def _integer(value):
    """A whole number."""
    return isinstance(value, int) and not isinstance(value, bool)


def _switch(value):
    """A boolean, or the yes and no of the configuration file."""
    return isinstance(value, bool) or value in ('yes', 'no')


def _names(value):
    """A list of names."""
    return isinstance(value, list) and all(_text(name) for name in value)


def _files(value):
    """A path for each name."""
    return isinstance(value, dict) and all(_absolute(path) for path in value.values())


def _one_of(*choices):
    """One of these words. YAML reads 1.2 as a number, and no as a boolean."""
    def is_one(value):
        return str(value) in choices or (value is False and 'no' in choices)
    is_one.__doc__ = 'One of %s.' % ', '.join(choices)
    return is_one


FACILITIES = ('authpriv', 'auth', 'user') + tuple('local%d' % number for number in range(8))

# The keys of the file, in the order in which they stand there: the same settings are the same bytes.
KEYS = {
    'ikey': _text,
    'skey': _text,
    'host': _text,
    'failmode': _one_of('safe', 'secure', 'codes'),
    'groups': _text,
    'group': _text,
    'pushinfo': _switch,
    'autopush': _switch,
    'accessible': _switch,
    'verified_push': _switch,
    'prompts': _integer,
    'motd': _switch,
    'accept_env_factor': _switch,
    'fallback_local_ip': _switch,
    'https_timeout': _integer,
    'http_proxy': _text,
    'cafile': _absolute,
    'noverify': _switch,
    'min_tls': _one_of('1.0', '1.1', '1.2', '1.3'),
    'prompt_for_commands': _switch,
    'signature': _one_of('sha512', 'sha1'),
    'sandbox': _switch,
    'remember': _one_of('no', 'connection'),
    'remember_max': _text,
    'syslog_facility': _one_of(*FACILITIES),
    'send_gecos': _switch,
    'gecos_delim': _text,
    'gecos_username_pos': _integer,
    'gecos_parsed': _switch,
    'dev_fips_mode': _switch,
}

# What else the pillar may say. A misspelt failmode must not be taken for nothing.
SETTINGS = {
    'state': _one_of('present', 'enabled', 'disabled', 'absent'),
    'usage': _one_of('login', 'pam'),
    'ssh_group': _text,
    'ssh_users': _names,
    'ssh_exempt': _names,
    'pam_services': _names,
    'pam_with': _one_of('keys', 'passwords'),
    'confirm': _text,
    'test_user': _text,
    'accept': _names,
    'install': _one_of('repository', 'files', 'binary', 'nothing'),
    'packages': _names,
    'package_ensure': _one_of('present', 'latest'),
    'package_files': _files,
    'binary': _absolute,
    'install_script': _absolute,
    'duoctl': _absolute,
}

USAGES = {'login': '/etc/duo/login_duo.conf', 'pam': '/etc/duo/pam_duo.conf'}


def _settings():
    """The pillar, once every word of it is known.

    It holds the secret key, so it is neither returned by a function of this module nor logged.
    """
    told = __salt__['pillar.get']('login_duo', {})
    kinds = dict(SETTINGS, **KEYS)
    for key, value in told.items():
        if key not in kinds:
            raise CommandExecutionError("the pillar 'login_duo' has no key '%s'" % key)
        if not kinds[key](value):
            wanted = kinds[key].__doc__.splitlines()[0]
            raise CommandExecutionError("'login_duo:%s' is something else than: %s" % (key, wanted))
    return told


def _line(key, value):
    if isinstance(value, bool):
        value = 'yes' if value else 'no'
    value = str(value)
    # A value cannot become another line, or a comment.
    begins_a_comment = value.startswith(';') and key != 'gecos_delim'
    if begins_a_comment or any(mark in value for mark in ('\n', '\r', '\0', ' ;', '\t;')):
        raise CommandExecutionError("the value of '%s' would not fit on a line of its own" % key)
    return '%s = %s\n' % (key, value)


def _program():
    """duoctl. The way back needs no other word of the pillar, so a mistake in one does not stop it."""
    return __salt__['pillar.get']('login_duo:duoctl', PROGRAM)


def _run(arguments, stdin='', accepted=()):
    """The object that duoctl prints. An argument could be read by every user of the host (ps)."""
    command = [_program()] + arguments
    for finding in accepted:
        command += ['--accept', finding]
    ended = subprocess.run(
        command + ['--json'], input=stdin, capture_output=True, text=True, check=False,
        env={'PATH': '/usr/sbin:/usr/bin:/sbin:/bin', 'LC_ALL': 'C.UTF-8'})
    try:
        answer = json.loads(ended.stdout)
    except ValueError:
        raise CommandExecutionError('duoctl %s: %s' % (arguments[0], ended.stderr.strip())) from None
    if ended.returncode != 0:
        why = answer['error']
        if answer['way_back']:
            why += '. The way back: ' + answer['way_back']
        raise CommandExecutionError(why)
    return answer


def _dry(arguments, test):
    return arguments + ['--dry-run'] if test else arguments


def installed():
    """Whether there is a duoctl.

    .. code-block:: bash

        salt '*' login_duo.installed
    """
    return os.access(_program(), os.X_OK)


def configure(usage='login', test=False):
    """Put the configuration of the pillar in place, once Duo takes its keys.

    .. code-block:: bash

        salt '*' login_duo.configure usage=login test=True
    """
    told = _settings()
    lines = [_line(key, told[key]) for key in KEYS if key in told]
    text_of_file = '; Written by Salt, and replaced by its next run.\n[duo]\n' + ''.join(lines)
    command = ['configure', '-c', USAGES[usage], '-']
    return _run(_dry(command, test), text_of_file, told.get('accept', []))


def enable(usage='login', test=False):
    """Have sshd run login_duo (``login``), or services of PAM ask Duo (``pam``).

    .. code-block:: bash

        salt '*' login_duo.enable usage=pam test=True
    """
    told = _settings()
    if usage == 'login':
        command = ['enable', 'ssh', '--yes']
        if told.get('ssh_group'):
            command += ['--group', told['ssh_group']]
        if told.get('ssh_users'):
            command += ['--user-list', ','.join(told['ssh_users'])]
        for user in told.get('ssh_exempt', []):
            command += ['--exempt', user]
    else:
        command = ['enable', 'pam', '--yes'] + told.get('pam_services', ['sudo', 'su'])
        if told.get('pam_with'):
            command += ['--with', told['pam_with']]
    for option in ('confirm', 'test_user'):
        if told.get(option):
            command += ['--' + option.replace('_', '-'), told[option]]
    return _run(_dry(command, test), accepted=told.get('accept', []))


def disable(usage='all', services=None, test=False):
    """Take away what was enabled: ``login``, ``pam`` (or some ``services`` of it), or ``all``.

    .. code-block:: bash

        salt '*' login_duo.disable
    """
    what = {'login': ['ssh'], 'pam': ['pam'] + (services or ['all']), 'all': ['all']}
    return _run(_dry(['disable', '--yes'] + what[usage], test))


def _who_uses(what):
    """Who would be locked out, or let in without Duo, if that were removed. Only 0 is a yes of duoctl."""
    ended = subprocess.run(
        [_program(), 'check', '--unused', what], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        env={'PATH': '/usr/sbin:/usr/bin:/sbin:/bin', 'LC_ALL': 'C.UTF-8'})
    if ended.returncode == 0:
        return ''
    said = '; '.join((ended.stdout + ended.stderr).splitlines())
    return said or 'duoctl check --unused %s: %d' % (what, ended.returncode)


def _recorded():
    """The files that are there of what the record names, with what duoctl keeps beside each."""
    with open(RECORD, 'rb') as record:
        lines = record.read().decode('utf-8', 'surrogateescape').splitlines()
    files = [line + ending for line in lines if line.startswith('/') for ending in ('', '.before', '.undone')]
    return sorted({file for file in files if os.path.lexists(file)})


def _who_reads_them():
    """Why they must stay; nothing, where duoctl says that nobody reads them."""
    if not installed():
        return '%s, which knows who reads them, is not installed' % _program()
    for what in ('program', 'module'):
        why = _who_uses(what)
        if why:
            raise CommandExecutionError('still in use, and nothing was removed: %s' % why)
    return _who_uses('configuration')


def erase(test=False):
    """Take away the configurations that duoctl has made, by its own record, unless something reads them.

    Duo's C program lets everybody in without its configuration. The record goes in any case, so
    that no purge of the packages takes a file that stays.

    .. code-block:: bash

        salt '*' login_duo.erase test=True
    """
    answer = {'changed': False, 'would_change': False, 'said': [], 'warnings': []}
    if not os.path.lexists(RECORD):
        return answer
    if test:
        return dict(answer, would_change=True)
    files = _recorded()
    why = _who_reads_them()
    if not why:
        for file in files:
            os.remove(file)
        answer['said'] = ['removed: %s' % file for file in files]
    elif files:
        warning = '%s stay: %s. Remove them by hand, once nothing reads them.' % (', '.join(files), why)
        answer['warnings'] = [warning]
    os.remove(RECORD)
    return dict(answer, changed=True)


def confirm():
    """Keep what was enabled with ``confirm``: from a login of one's own, not from the agent.

    .. code-block:: bash

        salt-call --local login_duo.confirm
    """
    return _run(['confirm', '--yes'])


def check():
    """What ``duoctl check`` finds; for monitoring.

    .. code-block:: bash

        salt '*' login_duo.check
    """
    ended = subprocess.run(
        [_program(), 'check', '--json'], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        env={'PATH': '/usr/sbin:/usr/bin:/sbin:/bin', 'LC_ALL': 'C.UTF-8'})
    try:
        return json.loads(ended.stdout)
    except ValueError:
        raise CommandExecutionError('duoctl check: %s' % ended.stderr.strip()) from None
