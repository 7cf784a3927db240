# shellcheck shell=bash disable=SC2154 # run and ways.sh set what is used here
# How each tool is installed, given its settings, and run. PREFIX_converge prints what came
# of a run: changes, nothing, or refused. For ways.sh.

# A folder of Python, by its name and packages, made once.
venv() {
    local folder=$machines/venvs/$1
    shift
    if [ ! -x "$folder/bin/pip" ]; then
        python3 -m venv "$folder"
        "$folder/bin/pip" install --quiet "$@" >&2
    fi
    printf '%s\n' "$folder"
}

## Ansible: over ssh, as an ordinary account that Duo asks, and with sudo.

ansible_packages() { :; }

ansible_prepare() {
    ansible=$(venv ansible ansible-core ansible-lint)
    mkdir -p "$work/collections/ansible_collections/login_duo"
    ln -sfn "$PWD/deploy/ansible" "$work/collections/ansible_collections/login_duo/login_duo"
    cat >"$work/inventory.yml" <<TEXT
all:
  hosts:
    machine:
      ansible_host: 10.9.0.2
      ansible_user: deploy
      ansible_ssh_private_key_file: $work/key
      ansible_python_interpreter: /usr/bin/python3
TEXT
    cat >"$work/site.yml" <<TEXT
- name: Two factors
  hosts: all
  become: true
  gather_facts: false
  roles:
    - login_duo.login_duo.login_duo
TEXT
}

# The packages that are given: those of a release, or of a newer one.
packages_in() { printf '%s\n' "$1"/login-duo-common_*.deb "$1"/login-duo-rs_*.deb "$1"/libpam-duo-rs_*.deb; }

ansible_write() {
    local from=$debs
    if [ -n "${want[release]}" ]; then from=$newer; fi
    # shellcheck disable=SC2046 # several words
    (umask 077 && skey=${want[skey]} jq -n --arg state "${want[state]}" --arg usage "${want[usage]}" \
        --argjson prompts "${want[prompts]}" --arg install "${want[install]}" --arg failmode "${want[failmode]}" --args '{
        login_duo_state: $state, login_duo_usage: $usage, login_duo_skey: env.skey, login_duo_prompts: $prompts,
        login_duo_ikey: "DIFAKEFAKEFAKEFAKE01", login_duo_host: "localhost:4443", login_duo_failmode: $failmode,
        login_duo_cafile: "/etc/ssl/duo-test.pem", login_duo_ssh_group: "duo-users",
        login_duo_install: $install,
        login_duo_binary: "/srv/release/target/login_duo", login_duo_install_script: "/srv/release/install.sh",
        login_duo_package_files: $ARGS.positional}' \
        $(packages_in "$from") >"$work/vars.json")
}

ansible_converge() {
    local log=$2 status=0 pipelining=False
    local options=(--inventory "$work/inventory.yml" --extra-vars "@$work/vars.json" --diff -vvv)
    if [ "$1" = check ]; then options+=(--check); fi
    if [ "$way" = ansible-pipelining ]; then pipelining=True; fi
    machine_outside "$name" env PATH="$ansible/bin:$PATH" HOME="$work/kept" ANSIBLE_HOME="$work/kept/ansible" \
        ANSIBLE_COLLECTIONS_PATH="$work/collections" ANSIBLE_HOST_KEY_CHECKING=False ANSIBLE_NOCOLOR=1 \
        ANSIBLE_PIPELINING=$pipelining ANSIBLE_LOG_PATH="$work/logs/$way.ansible" ANSIBLE_LOCALHOST_WARNING=False \
        ANSIBLE_SSH_ARGS="-o ControlMaster=auto -o ControlPersist=60s -o UserKnownHostsFile=/dev/null" \
        ANSIBLE_SSH_CONTROL_PATH_DIR="$work/kept/cp" \
        ansible-playbook "${options[@]}" "$work/site.yml" >"$log" 2>&1 </dev/null || status=$?
    # The master of the connection is not to be the next run's.
    find "$work/kept/cp" -type s -exec ssh -o ControlPath={} -O exit machine \; >/dev/null 2>&1 || :
    case $status:$(grep -o 'changed=[0-9]*' "$log" | tail -n 1) in
    0:changed=0) echo nothing ;;
    0:changed=*) echo changes ;;
    *) echo refused ;;
    esac
}

## Puppet: the agent of Debian, without a server.

puppet_packages() { echo puppet-agent; }

puppet_prepare() {
    local modules=$1/etc/puppet/code/environments/production/modules
    mkdir -p "$modules" "$1/srv/input"
    cp -R deploy/puppet "$modules/login_duo"
}

# The files on the machine, by the names of their packages: NAME BETWEEN PATH AFTER.
files_by_name() {
    local from=$debs folder=/srv/apt package
    if [ -n "${want[release]}" ]; then from=$newer folder=/srv/newer; fi
    for package in login-duo-common login-duo-rs libpam-duo-rs; do
        printf "'%s'%s'%s', " "$package" "$1" "$folder/$(basename "$from/$package"_*.deb)"
    done
}

# A misspelt key keeps a catalog of its class from being made, and so the way back is a class of its own.
puppet_write() {
    local ensure=present
    if [ -n "${want[release]}" ]; then ensure=latest; fi
    if [ "${want[failmode]}" != secure ]; then
        echo 'include login_duo::disabled' >"$(machine_tree "$name")/srv/input/site.pp"
        return
    fi
    (umask 077 && cat >"$(machine_tree "$name")/srv/input/site.pp" <<TEXT
class { 'login_duo':
  ensure        => '${want[state]}',
  usage         => '${want[usage]}',
  ikey          => 'DIFAKEFAKEFAKEFAKE01',
  skey          => Sensitive('${want[skey]}'),
  host          => 'localhost:4443',
  failmode      => 'secure',
  prompts       => ${want[prompts]},
  cafile        => '/etc/ssl/duo-test.pem',
  ssh_group     => 'duo-users',
  test_user     => 'duo-probe',
  install       => '${want[install]}',
  package_ensure => '$ensure',
  package_files => { $(files_by_name ' => ')},
  binary        => '/srv/release/target/login_duo',
  install_script => '/srv/release/install.sh',
}
TEXT
    )
}

puppet_converge() {
    local log=$2 status=0
    local options=(--detailed-exitcodes --debug --color=false --show_diff)
    if [ "$1" = check ]; then options+=(--noop); fi
    machine_run "$name" puppet apply "${options[@]}" /srv/input/site.pp >"$log" 2>&1 </dev/null || status=$?
    case $status in
    0) if grep -q '(noop)$' "$log"; then echo changes; else echo nothing; fi ;;
    2) echo changes ;;
    *) echo refused ;;
    esac
}

## Salt: salt-call --local, from PyPI.

salt_packages() { echo python3-venv; }

salt_prepare() {
    local kept=$machines/venvs/salt.tar
    if [ ! -f "$kept" ]; then
        cp /etc/resolv.conf "$1/etc/resolv.conf"
        cp /etc/ssl/certs/ca-certificates.crt "$1/etc/ssl/certs/ca-certificates.crt"
        machine_chroot "$1" sh -c 'python3 -m venv /opt/salt && PIP_CERT=/etc/ssl/certs/ca-certificates.crt \
            /opt/salt/bin/pip install --quiet "salt>=3006,<=3007.16"' >&2
        tar -C "$1" -cf "$kept.new" opt/salt
        mv "$kept.new" "$kept"
        rm "$1/etc/resolv.conf"
    else
        tar -C "$1" -xf "$kept"
    fi
    mkdir -p "$1/etc/salt" "$1/srv/input"
    cp -R deploy/salt "$1/srv/salt"
    printf '%s\n' 'file_client: local' 'file_roots: {base: [/srv/salt]}' 'pillar_roots: {base: [/srv/input]}' \
        >"$1/etc/salt/minion"
    printf '%s\n' "base: {'*': [login_duo]}" >"$1/srv/input/top.sls"
}

salt_write() {
    (umask 077 && cat >"$(machine_tree "$name")/srv/input/login_duo.sls" <<TEXT
login_duo:
  state: ${want[state]}
  usage: ${want[usage]}
  ikey: DIFAKEFAKEFAKEFAKE01
  skey: ${want[skey]}
  host: localhost:4443
  failmode: ${want[failmode]}
  prompts: ${want[prompts]}
  cafile: /etc/ssl/duo-test.pem
  ssh_group: duo-users
  test_user: duo-probe
  install: ${want[install]}
  package_files: {$(files_by_name ': ')}
  binary: /srv/release/target/login_duo
  install_script: /srv/release/install.sh
TEXT
    )
    machine_run "$name" /opt/salt/bin/salt-call --local --log-level=quiet saltutil.sync_all >/dev/null 2>&1
}

salt_converge() {
    local log=$2 status=0
    local options=(--local --retcode-passthrough --log-level=debug --out=json)
    machine_run "$name" /opt/salt/bin/salt-call "${options[@]}" state.apply login_duo \
        "test=$([ "$1" = check ] && echo True || echo False)" >"$log" 2>"$log.debug" </dev/null || status=$?
    if [ "$status" -ne 0 ]; then
        echo refused
    elif jq -e 'any(.local[]; .changes != {} or .result == null)' "$log" >/dev/null; then
        echo changes
    else
        echo nothing
    fi
}
