# @summary Where syslog sorts lines.
type Login_duo::Facility = Enum['authpriv', 'auth', 'user', 'local0', 'local1', 'local2', 'local3', 'local4', 'local5', 'local6', 'local7']
