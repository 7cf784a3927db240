//! `duoctl support`: a secret is in no report, wherever it stands.

use std::fs;

use serde_json::Value;

use crate::checks::Machine;
use crate::support::{Ended, side_by_side};

/// As a key of Duo's looks. Everything that makes one word of it is looked for, too.
const SECRET: &str = "PlantedKeyPlantedKeyPlantedKeyPlantedKey";

/// The report of a machine: what was written and what was shown.
fn report(machine: &Machine) -> String {
    let ended = machine.run("--yes /etc/duo/report.tar");
    assert_eq!(ended.status(), 0, "{}", ended.text());
    let path = machine.folder().join("report.tar");
    let bytes = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    String::from_utf8_lossy(&bytes).into_owned() + &ended.text()
}

fn facts(report: &str) -> Value {
    let start = report.find('{').unwrap();
    let mut values = serde_json::Deserializer::from_str(&report[start..]).into_iter();
    values.next().unwrap().unwrap()
}

pub fn a_secret_is_in_no_report_wherever_it_stands() {
    let whole = [
        "failmode = safe",
        "groups = SECRET",
        "http_proxy = http://SECRET:SECRET@SECRET.invalid:3128",
        "cafile = /SECRET",
        "SECRET = x",
        "[SECRET]",
        "SECRET",
        "prompts = SECRET",
        "; SECRET",
        "failmode = safe\n SECRET",
    ];
    side_by_side(&whole, |line| {
        let planted = |text: &str| text.replace("SECRET", SECRET);
        let log = planted(
            "Nov  6 13:45:21 host login_duo[12]: Failed Duo login for 'SECRET' from SECRET: SECRET\\n\
             Nov  6 13:45:22 SECRET login_duo[12]: SECRET\\n\
             SECRET SECRET SECRET SECRET login_duo[12]: Failsafe Duo login for 'SECRET'",
        );
        let setup = planted(&format!(
            "rm -f /etc/os-release /etc/login.defs /etc/shells /etc/hosts /etc/nsswitch.conf
             printf 'ID=SECRET\\nVERSION_ID=\"SECRET\"\\nNAME=SECRET\\n' > /etc/os-release
             printf 'CHFN_RESTRICT SECRET\\n' > /etc/login.defs
             printf '/bin/sh\\n/SECRET\\n' > /etc/shells
             printf '127.0.0.1 SECRET\\n' > /etc/hosts
             printf 'passwd: files SECRET\\ngroup: files SECRET\\n' > /etc/nsswitch.conf
             printf '%b\\n' \"{log}\" | tee /var/log/auth.log > /var/log/secure
             mkdir -p /srv/home/carol/.ssh
             printf 'command=\"SECRET\",restrict ssh-ed25519 SECRET SECRET\\n' > /srv/home/carol/.ssh/authorized_keys
             mkdir -p /var/lib/login_duo; echo SECRET > /var/lib/login_duo/pending.json
             cp -p /run/duo/login_duo.conf /run/duo/login_duo.conf.before
             printf '[duo]\\nskey = SECRET\\n' > /run/duo/login_duo.conf.before"
        ));
        let machine = Machine::new()
            .config(&format!("{}\n", planted(line)))
            .passwd("Alice:/:", &planted("SECRET:/:"))
            .passwd("bob:x", &planted("SECRETbob:x"))
            .passwd(
                "bob:x:5002:5002:Bob:/:/bin/sh\n",
                "bob:x:5002:5002:Bob:/:/bin/sh\ncarol:x:5009:5009::/srv/home/carol:/bin/sh\n",
            )
            .group("admins", &planted("SECRET"))
            .sshd_adds(&planted(
                "# SECRET\nBanner /SECRET\nSetEnv SECRET=SECRET\nVersionAddendum SECRET\n\
                 AuthorizedKeysCommand /bin/echo SECRET\nAuthorizedKeysCommandUser nobody\n\
                 Match User SECRET*,carol\nForceCommand /bin/echo SECRET\nChrootDirectory /SECRET\n",
            ))
            .setup(&setup)
            .runs("support");
        let text = report(&machine).to_lowercase();
        assert!(!text.contains("planted"), "{line}: {text}");
        assert!(text.contains("\"findings\""), "{line}: {text}");
    });
}

pub fn a_report_says_what_is_wrong() {
    // Whoever is asked for a version says something else.
    let setup = format!(
        "printf '#!/bin/sh\\necho {SECRET}; echo {SECRET} >&2\\n' > /run/bin/login_duo\n\
         chmod 755 /run/bin/login_duo\n\
         printf 'ID=debian\\nVERSION_ID=\"12\"\\n' > /run/x; rm -f /etc/os-release; cp /run/x /etc/os-release\n\
         echo \"Nov  6 13:45:21 host login_duo[12]: Failed Duo login for 'x': y\" > /var/log/auth.log"
    );
    let machine = Machine::new()
        .config("failmode = secure\nautopush = yes\ngroups = admins !bob\n")
        .sshd("AllowTcpForwarding no", "AllowTcpForwarding local")
        .setup(&setup)
        .runs("support");
    let text = report(&machine);
    assert!(!text.contains(SECRET), "{text}");
    let facts = facts(&text);
    assert_eq!(facts["login_duo"], "another version or program");
    assert_eq!(facts["system"]["distribution"], "debian");
    assert_eq!(facts["system"]["release"], serde_json::json!([12]));
    let configuration = &facts["configuration"];
    assert_eq!(configuration["skey"], "as Duo makes them");
    assert_eq!(
        (&configuration["failmode"], &configuration["autopush"]),
        (&"secure".into(), &true.into())
    );
    assert_eq!(configuration["host"], "other");
    assert_eq!(facts["sshd"]["everybody"]["allowtcpforwarding"], "local");
    assert_eq!(facts["sshd"]["everybody"]["forcecommand"], "login_duo");
    assert!(facts["sshd"]["openssh"].is_array());
    let fails = facts["findings"]["fail"].as_array().unwrap();
    for id in ["installation.mode", "sshd.tcp_forwarding"] {
        assert!(fails.contains(&id.into()), "{id}: {facts:#}");
    }
    assert_eq!(
        (&facts["log"]["source"], &facts["log"]["failed"]),
        (&"a file".into(), &1.into())
    );

    let broken = Machine::new()
        .config("x = y\nprompts = z\n")
        .runs("support");
    let read = facts_of(&broken);
    assert_eq!(read["configuration"]["read"], "broken");
    let lines = read["configuration"]["lines_with_mistakes"]
        .as_array()
        .unwrap();
    assert_eq!(lines.len(), 2, "{read:#}");
}

fn facts_of(machine: &Machine) -> Value {
    facts(&report(machine))
}

pub fn nothing_is_written_unseen_and_nothing_is_written_over() {
    let machine = Machine::new().runs("support");
    let path = machine.folder().join("report.tar");
    let said = machine.run("/etc/duo/report.tar < /dev/null").fails();
    assert!(said.contains("--yes"), "{said}");
    assert!(!path.exists());
    let shown = machine.run("--dry-run /etc/duo/report.tar");
    assert_eq!(shown.status(), 0);
    assert!(!path.exists());

    fs::write(&path, "mine").unwrap();
    machine.run("--yes /etc/duo/report.tar").fails();
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("elsewhere", &path).unwrap();
    machine.run("--yes /etc/duo/report.tar").fails();
    fs::remove_file(&path).unwrap();

    assert_eq!(machine.run("--yes /etc/duo/report.tar").status(), 0);
    let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(&path).unwrap());
    assert_eq!(mode & 0o777, 0o600);
    // What tar(1) takes out is what was shown.
    let mut tar = std::process::Command::new("tar");
    tar.arg("-xOf").arg(&path);
    let taken_out = Ended::of(&mut tar);
    assert_eq!(taken_out.code(), 0);
    let out = taken_out.stdout();
    let first = shown.stdout();
    assert_eq!(facts(&out)["configuration"], facts(&first)["configuration"]);
}
