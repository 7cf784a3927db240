# shellcheck shell=bash disable=SC2016,SC2034,SC2154 # run and ways.sh set and use what is here; inner shells expand
# The linters of each ecosystem, at their strictest. For run.
way=lint
linted() {
    local text=$1 log
    shift
    problems=()
    log=$(mktemp "$work/logs/lint.XXXXXX")
    if ! "$@" >"$log" 2>&1; then
        problems+=("$(tail -n 1 "$log")")
        cat "$log"
    fi
    row lint "$text" - - - "$(outcome)"
}

ansible=$(venv ansible ansible-core ansible-lint)
mkdir -p "$work/lint/ansible_collections/login_duo"
cp -R deploy/ansible "$work/lint/ansible_collections/login_duo/login_duo"
in_collection() {
    (cd "$work/lint/ansible_collections/login_duo/login_duo" &&
        env PATH="$ansible/bin:$PATH" HOME="$work/lint" ANSIBLE_COLLECTIONS_PATH="$work/lint" NO_COLOR=1 "$@")
}
linted "ansible-lint" in_collection ansible-lint --offline --strict --profile production
linted "ansible-galaxy build" in_collection ansible-galaxy collection build --output-path "$work/lint"
linted "ansible-doc" in_collection ansible-doc --type role login_duo.login_duo.login_duo

# Chef's own linter, cookstyle, comes from rubygems.org alone; rubocop is what it is made of.
machine_make lint bookworm puppet-agent puppet-lint ruby-rspec-puppet ruby-puppetlabs-spec-helper rubocop python3
tree=$(machine_tree lint)
mkdir -p "$tree/srv/modules"
cp -R deploy "$tree/srv/deploy"
cp -R deploy/puppet "$tree/srv/modules/login_duo"
in_folder() {
    machine_chroot "$tree" sh -c 'cd "/srv/deploy/$1" && shift && exec "$@"' in_folder "$@"
}
linted "puppet parser" in_folder puppet sh -c 'puppet parser validate manifests examples types'
# puppet-lint wants the folder to have the name of the module.
linted "puppet-lint" in_folder ../modules/login_duo puppet-lint --fail-on-warnings manifests examples types
linted "puppet rubocop" in_folder puppet rubocop
linted "rspec-puppet" in_folder puppet env LOGIN_DUO_MODULES=/srv/modules rspec
linted "chef ruby -c" in_folder chef sh -c 'for file in $(find . -name "*.rb"); do ruby -c "$file" || exit; done'
linted "chef rubocop" in_folder chef rubocop
linted "salt python" in_folder salt python3 -W error -m compileall -q _modules _states
machine_remove lint
