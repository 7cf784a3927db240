# MIT or Apache-2.0, at your choice: see LICENSE-MIT and LICENSE-APACHE of login_duo
"""States of login_duo: what the pillar ``login_duo`` says is in place, and who asks.

.. code-block:: yaml

    login_duo_configuration:
      login_duo.configured:
        - usage: login

    login_duo_enabled:
      login_duo.enabled:
        - usage: login
        - require:
          - login_duo: login_duo_configuration
"""

from salt.exceptions import CommandExecutionError

__virtualname__ = 'login_duo'


def __virtual__():
    return __virtualname__


def _not_installed(name, comment):
    """In a test, what this run would install is not there yet."""
    result = None if __opts__['test'] else False
    return {'name': name, 'result': result, 'changes': {}, 'comment': comment}


def _state(name, function, what, **arguments):
    """What a function of the module did, or would do."""
    test = __opts__['test']
    answer = __salt__['login_duo.' + function](test=test, **arguments)
    state = {'name': name, 'result': True, 'changes': {}, 'comment': '\n'.join(answer['said'])}
    if answer['warnings']:
        state['warnings'] = answer['warnings']
    if answer['would_change'] or answer['changed']:
        change = ', '.join(answer['keys']) if answer.get('keys') else what
        state['changes'] = {what: change}
        state['result'] = None if test else True
    return state


def _failed(name, error):
    return {'name': name, 'result': False, 'changes': {}, 'comment': str(error)}


def configured(name, usage='login'):
    """The configuration says what the pillar says, and Duo has taken its keys.

    Changes name the keys that get another value, and no value.
    """
    try:
        if not __salt__['login_duo.installed']():
            return _not_installed(name, 'duoctl is not installed yet, so the keys are not proved')
        return _state(name, 'configure', 'configuration', usage=usage)
    except CommandExecutionError as error:
        return _failed(name, error)


def enabled(name, usage='login'):
    """sshd runs login_duo, or the services of PAM ask Duo."""
    try:
        if not __salt__['login_duo.installed']():
            return _not_installed(name, 'duoctl is not installed yet, so nothing is judged')
        return _state(name, 'enable', 'enabled', usage=usage)
    except CommandExecutionError as error:
        if not __opts__['test']:
            return _failed(name, error)
        # It may be about what this run would have mended before.
        comment = 'as it is now, duoctl would refuse: %s' % error
        return {'name': name, 'result': None, 'changes': {}, 'comment': comment}


def erased(name):
    """The configurations that duoctl has made are gone, unless something reads them."""
    try:
        return _state(name, 'erase', 'erased')
    except CommandExecutionError as error:
        return _failed(name, error)


def disabled(name, usage='all', services=None):
    """Nothing of this usage is enabled."""
    try:
        if not __salt__['login_duo.installed']():
            return {'name': name, 'result': True, 'changes': {}, 'comment': 'duoctl is not installed'}
        return _state(name, 'disable', 'disabled', usage=usage, services=services)
    except CommandExecutionError as error:
        return _failed(name, error)
