//! `deploy/`: Ansible, Puppet, Salt and Chef know every key of the configuration file by its own
//! name. A key that one of them does not know cannot be set on a thousand hosts, and one that the
//! program does not know would have `duoctl` refuse every configuration.

use std::fs;
use std::path::Path;

use duo_policy::config::KEYS;

fn text(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("deploy")
        .join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What stands between `open` and `close` in each line of a table, from the line `begin` to `end`.
fn table(path: &str, [begin, end]: [&str; 2], [open, close]: [&str; 2]) -> Vec<String> {
    let text = text(path);
    let lines = text.lines().skip_while(|line| *line != begin).skip(1);
    let rows = lines.take_while(|line| *line != end);
    rows.filter_map(|line| Some(line.strip_prefix(open)?.split(close).next()?.to_owned()))
        .collect()
}

#[test]
fn each_vocabulary_has_the_keys_of_the_program_in_their_order() {
    let keys: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
    for (path, lines, marks) in [
        (
            "ansible/plugins/modules/config.py",
            ["KEYS = dict(", ")"],
            ["    ", "="],
        ),
        (
            "ansible/plugins/modules/config.py",
            ["ORDER = [", "]"],
            ["    '", "'"],
        ),
        (
            "ansible/roles/login_duo/tasks/configure.yml",
            [
                "    usage: \"{{ login_duo_usage }}\"",
                "    accept: \"{{ login_duo_accept }}\"",
            ],
            ["    ", ":"],
        ),
        (
            "puppet/lib/puppet/type/login_duo_config.rb",
            ["  const_set(:KEYS, {", "  }.freeze)"],
            ["    ", ":"],
        ),
        (
            "puppet/manifests/config.pp",
            ["  $keys = {", "  }"],
            ["    '", "'"],
        ),
        (
            "salt/_modules/login_duo.py",
            ["KEYS = {", "}"],
            ["    '", "'"],
        ),
        (
            "chef/libraries/duoctl.rb",
            ["  KEYS = %i(", "  ).freeze"],
            ["    ", "\n"],
        ),
    ] {
        assert_eq!(table(path, lines, marks), keys, "{path}");
    }
}

#[test]
fn each_key_can_be_set_by_whoever_uses_them_with_its_type() {
    for key in KEYS {
        let name = key.name;
        for (path, words) in [
            (
                "ansible/roles/login_duo/meta/argument_specs.yml",
                format!("\n      login_duo_{name}:\n"),
            ),
            (
                "ansible/roles/login_duo/tasks/configure.yml",
                format!("    {name}: \"{{{{ login_duo_{name} | default(omit) }}}}\"\n"),
            ),
            (
                "ansible/plugins/modules/config.py",
                format!("\n  {name}:\n"),
            ),
            ("puppet/manifests/init.pp", format!("\n# @param {name}\n")),
            (
                "puppet/manifests/config.pp",
                format!("=> $login_duo::{name},\n"),
            ),
            (
                "chef/attributes/default.rb",
                format!("default['login_duo']['{name}'] = nil\n"),
            ),
            ("chef/resources/config.rb", format!("\nproperty :{name}, ")),
        ] {
            assert!(text(path).contains(&words), "{path} has no {words}");
        }
        // A parameter of the class, with a type before it.
        let init = text("puppet/manifests/init.pp");
        let mut parameters = init.lines().filter(|line| line.ends_with(" = undef,"));
        let is_it = |line: &str| {
            line.split_whitespace()
                .any(|word| word == format!("${name}"))
        };
        assert!(
            parameters.any(is_it),
            "puppet/manifests/init.pp has no ${name}"
        );
    }
}

/// What is secret must be told to each of them, or they show it.
#[test]
fn each_vocabulary_knows_what_is_secret() {
    for (path, words) in [
        (
            "ansible/plugins/modules/config.py",
            "    skey=dict(type='str', no_log=True),\n",
        ),
        (
            "ansible/plugins/modules/config.py",
            "    http_proxy=dict(type='str', no_log=True),\n",
        ),
        (
            "puppet/lib/puppet/type/login_duo_config.rb",
            "const_set(:SECRETS, [:skey, :http_proxy].freeze)",
        ),
        (
            "chef/resources/config.rb",
            "property :skey, String, sensitive: true,",
        ),
        (
            "chef/resources/config.rb",
            "property :http_proxy, String, sensitive: true,",
        ),
    ] {
        assert!(text(path).contains(words), "{path} has no {words}");
    }
}
