//! The configuration file as a whole: a table of small files with what each decides or which
//! mistakes it has, and properties that hold for any bytes.

use std::path::Path;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

/// The required keys, put behind each file of the table so that its lines count from 1.
const REQUIRED: &str = "\n[duo]\nikey=I\nskey=S\nhost=h.example\n";

/// One line for each field that is not as [`REQUIRED`] alone leaves it, each warning and each
/// problem.
fn told(file: &[u8]) -> Vec<String> {
    let (mut told, warnings) = match parse(file) {
        Ok(Parsed { config, warnings }) => (decided(&config), warnings),
        Err(broken) => {
            let mut told: Vec<_> = broken
                .problems
                .iter()
                .map(|problem| problem.at(Path::new("F")))
                .collect();
            told.extend(broken.failmode.map(|mode| format!("failmode {mode:?}")));
            (told, broken.warnings)
        }
    };
    told.extend(
        warnings
            .iter()
            .map(|warning| format!("warning {}", warning.at(Path::new("F")))),
    );
    told
}

fn decided(config: &Config) -> Vec<String> {
    let show = |secret: &Secret| String::from_utf8_lossy(secret.expose()).into_owned();
    let proxy = config.http_proxy.as_ref();
    let fields = [
        ("ikey", config.ikey.clone(), "I"),
        ("skey", show(&config.skey), "S"),
        ("host", config.host.to_string(), "h.example"),
        ("failmode", format!("{:?}", config.failmode), "Safe"),
        ("push_info", config.push_info.to_string(), "false"),
        ("autopush", config.autopush.to_string(), "false"),
        ("verified_push", config.verified_push.to_string(), "false"),
        ("prompts", config.prompts.to_string(), "3"),
        ("motd", config.motd.to_string(), "false"),
        (
            "accept_env_factor",
            config.accept_env_factor.to_string(),
            "false",
        ),
        (
            "fallback_local_ip",
            config.fallback_local_ip.to_string(),
            "false",
        ),
        (
            "https_timeout",
            format!("{:?}", config.https_timeout),
            "Some(30s)",
        ),
        (
            "http_proxy",
            proxy
                .map(|proxy| proxy.host.to_string())
                .unwrap_or_default(),
            "",
        ),
        (
            "credentials",
            proxy
                .and_then(|p| p.credentials.as_ref())
                .map(show)
                .unwrap_or_default(),
            "",
        ),
        (
            "cafile",
            config
                .cafile
                .as_ref()
                .map(|path| path.display().to_string())
                .unwrap_or_default(),
            "",
        ),
        ("noverify", config.noverify.to_string(), "false"),
        ("min_tls", format!("{:?}", config.min_tls), "Tls12"),
        ("sandbox", config.sandbox.to_string(), "true"),
        (
            "syslog_facility",
            config.syslog_facility.number().to_string(),
            "10",
        ),
        (
            "prompt_for_commands",
            config.prompt_for_commands.to_string(),
            "false",
        ),
        ("signature", format!("{:?}", config.signature), "Sha512"),
        ("gecos", format!("{:?}", config.gecos), "No"),
        ("remember", format!("{:?}", config.remember), "No"),
        (
            "remember_max",
            format!("{:?}", config.remember_max),
            "28800s",
        ),
    ];
    let differ = fields
        .into_iter()
        .filter(|(_, value, default)| value != default);
    let mut decided: Vec<_> = differ
        .map(|(name, value, _)| format!("{name} {value}"))
        .collect();
    if let Some(groups) = &config.groups {
        let literals = groups
            .literals()
            .map(|name| String::from_utf8_lossy(name).into_owned());
        decided.push(format!("groups {}", literals.collect::<Vec<_>>().join("|")));
    }
    decided
}

/// Files, [`REQUIRED`] understood, and what they say.
#[rustfmt::skip]
const TABLE: &[(&str, &[&str])] = &[
    // A key of the C program since its 2.3.0: a file that has it must deny nobody.
    ("min_tls = 1.2", &[]),
    ("min_tls = 1.3", &["min_tls Tls13"]),
    ("min_tls = 1.0", &["warning F:1: key 'min_tls' allows a version that is never spoken: 1.2 is used"]),
    ("min_tls = 1.1", &["warning F:1: key 'min_tls' allows a version that is never spoken: 1.2 is used"]),
    ("min_tls = 1.4", &["F:1: key 'min_tls' must be '1.0', '1.1', '1.2' or '1.3'"]),
    ("min_tls = tls1.2", &["F:1: key 'min_tls' must be '1.0', '1.1', '1.2' or '1.3'"]),
    ("prompt_for_commands = on", &["prompt_for_commands true"]),
    ("remember = connection", &["remember Connection"]),
    ("remember = connection\nremember_max = 90m", &["remember Connection", "remember_max 5400s"]),
    ("remember = no\nremember_max = 1m", &["remember_max 60s"]),
    ("remember_max = 24h", &["remember_max 86400s"]),
    ("remember = yes", &["F:1: key 'remember' must be 'no' or 'connection'"]),
    ("remember = Connection", &["F:1: key 'remember' must be 'no' or 'connection'"]),
    ("remember =", &["warning F:1: key 'remember' is empty and counts as absent"]),
    ("remember_max = 59s", &["F:1: key 'remember_max' must be a time from '1m' to '24h', such as '30m' or '8h'"]),
    ("remember_max = 25h", &["F:1: key 'remember_max' must be a time from '1m' to '24h', such as '30m' or '8h'"]),
    ("remember_max = 480", &["F:1: key 'remember_max' must be a time from '1m' to '24h', such as '30m' or '8h'"]),
    // Reading rules.
    ("", &[]),
    ("motd=yes", &["motd true"]),
    ("[duo]\nmotd=yes", &["motd true"]),
    ("[ duo ] ; here\nmotd=yes\n[duo]# again", &["motd true"]),
    ("\u{feff}motd=yes", &["motd true"]),
    ("motd=yes\r\nprompts = 4\r\n\r\n", &["prompts 4", "motd true"]),
    ("motd \t=\t yes \t", &["motd true"]),
    ("; motd=yes\n# motd=yes\n\t # motd=yes\n  ;motd=yes", &[]),
    ("motd=yes ; no\nprompts=4\t;5", &["prompts 4", "motd true"]),
    ("motd=yes;no", &["F:1: key 'motd' must be 'yes' or 'no'"]),
    ("motd=yes #no", &["F:1: key 'motd' must be 'yes' or 'no'"]),
    ("cafile=/a #1;b=c ; d", &["cafile /a #1;b=c"]),
    ("cafile = \"/a\"", &["F:1: key 'cafile' must be an absolute path"]),
    ("prompts=4\n  5", &["prompts 5"]),
    ("prompts=x\n\t5 ; better", &["prompts 5"]),
    ("prompts=5\n  x", &["F:2: key 'prompts' must be a whole number"]),
    ("prompts=4\n\n# so\n  # or so\n  5", &["prompts 5"]),
    ("prompts=4\nprompts=5", &["prompts 5"]),
    ("prompts=x\nprompts=5", &["F:1: key 'prompts' must be a whole number"]),
    ("prompts=4\nprompts=", &["prompts 4", "warning F:2: key 'prompts' is empty and counts as absent"]),
    ("  5", &["F:1: an indented line with no value above it to continue"]),
    ("prompts=4\n[duo]\n  5", &["F:3: an indented line with no value above it to continue"]),
    ("prompts=4\nword\n  5", &["F:2: a line without '='", "F:3: an indented line with no value above it to continue"]),
    ("zz=1\n  2\n  3", &["F:1: unknown key 'zz'"]),
    ("prompts=4\n  motd=yes", &["F:2: key 'motd' is indented, so it would continue the value above"]),
    ("groups=a\n  [duo]", &["groups a|[duo]"]),
    // Mistakes of shape; nothing of a line is repeated but a harmless name.
    ("[duo", &["F:1: a section without its ']'"]),
    ("[duo] motd=yes", &["F:1: text after a section's ']'"]),
    ("[dou]\nmotd=yes", &["F:1: unknown section 'dou'"]),
    ("[]\n[Duo]\n[duo2]", &["F:1: unknown section", "F:2: unknown section", "F:3: unknown section"]),
    ("motd", &["F:1: a line without '='"]),
    ("motd: yes", &["F:1: a line without '='"]),
    ("motd ; = yes", &["F:1: a line without '='"]),
    ("= yes", &["F:1: no key before the '='"]),
    ("colour=red", &["F:1: unknown key 'colour'"]),
    ("Motd=yes\nm2=yes\nmo td=1", &["F:1: unknown key", "F:2: unknown key", "F:3: unknown key"]),
    ("abcdefghijklmnopqrstuvwxyz_abcde=", &["F:1: unknown key 'abcdefghijklmnopqrstuvwxyz_abcde'"]),
    ("abcdefghijklmnopqrstuvwxyz_abcdef=", &["F:1: unknown key"]),
    // Required keys.
    ("ikey=", &["F:1: key 'ikey' is empty"]),
    ("skey= ; later", &["F:1: key 'skey' is empty"]),
    ("ikey=a b", &["F:1: key 'ikey' has a blank in it (a comment begins with ' ;')"]),
    ("skey=a # b", &["F:1: key 'skey' has a blank in it (a comment begins with ' ;')"]),
    ("skey=a\u{7}b", &["F:1: key 'skey' has a control character in it"]),
    ("host=https://h.example", &["F:1: key 'host' has a scheme: the name alone belongs here"]),
    ("host=h.example/", &["F:1: key 'host' must be a name or an address, without path, '@' or blank"]),
    // Failmode.
    ("failmode=secure", &["failmode Secure"]),
    ("failmode=safe ;x", &[]),
    ("failmode=secure\n safe", &[]),
    ("failmode=safe\nfailmode=secure", &["failmode Secure"]),
    ("failmode=", &["F:1: key 'failmode' is empty"]),
    ("failmode=Secure", &["F:1: key 'failmode' must be 'safe', 'secure' or 'codes', in lower case"]),
    // Booleans.
    ("pushinfo=TRUE\nautopush=On\nnoverify=oFF", &["push_info true", "autopush true"]),
    ("accept_env_factor=1\nfallback_local_ip=True\nmotd=0", &["accept_env_factor true", "fallback_local_ip true"]),
    ("verified_push=y", &["F:1: key 'verified_push' must be 'yes' or 'no'"]),
    ("motd=\u{ff}", &["F:1: key 'motd' must be 'yes' or 'no'"]),
    ("motd=", &["warning F:1: key 'motd' is empty and counts as absent"]),
    ("verified_push=yes\nautopush=no", &["verified_push true"]),
    ("autopush=yes\n\nverified_push=yes", &["F:3: key 'verified_push' cannot be used with 'autopush'"]),
    ("verified_push=yes\nautopush=1", &["F:2: key 'verified_push' cannot be used with 'autopush'"]),
    ("noverify=yes", &["noverify true", "warning F:1: key 'noverify' is on: nobody checks that the server is Duo's"]),
    ("sandbox=yes", &[]),
    ("sandbox=no", &["sandbox false", "warning F:1: key 'sandbox' is off: nothing limits the process that talks to Duo"]),
    ("sandbox=no\nsandbox=yes", &[]),
    ("sandbox=", &["warning F:1: key 'sandbox' is empty and counts as absent"]),
    ("syslog_facility=authpriv", &[]),
    ("syslog_facility=auth", &["syslog_facility 4"]),
    ("syslog_facility=local7\nsyslog_facility=user", &["syslog_facility 1"]),
    ("syslog_facility=local0", &["syslog_facility 16"]),
    ("syslog_facility=local7", &["syslog_facility 23"]),
    ("syslog_facility=", &["warning F:1: key 'syslog_facility' is empty and counts as absent"]),
    ("syslog_facility=LOCAL0", &["F:1: key 'syslog_facility' must be 'authpriv', 'auth', 'user' or 'local0' to 'local7'"]),
    ("syslog_facility=local8\nsyslog_facility=auth", &["F:1: key 'syslog_facility' must be 'authpriv', 'auth', 'user' or 'local0' to 'local7'"]),
    // Numbers.
    ("prompts=1", &["prompts 1"]),
    ("prompts=+010", &["prompts 10"]),
    ("prompts=0", &["prompts 1", "warning F:1: key 'prompts' is less than 1: 1 is used"]),
    ("prompts=-300", &["prompts 1", "warning F:1: key 'prompts' is less than 1: 1 is used"]),
    ("prompts=11", &["prompts 10", "warning F:1: key 'prompts' is more than 10: 10 is used"]),
    ("prompts=99999999999999999999", &["prompts 10", "warning F:1: key 'prompts' is more than 10: 10 is used"]),
    (
        "prompts=3x\nprompts=1.5\nprompts=-",
        &[
            "F:1: key 'prompts' must be a whole number",
            "F:2: key 'prompts' must be a whole number",
            "F:3: key 'prompts' must be a whole number",
        ],
    ),
    ("https_timeout=5", &["https_timeout Some(5s)"]),
    ("https_timeout=0", &["https_timeout None"]),
    ("https_timeout=-99999999999999999999", &["https_timeout None"]),
    ("https_timeout=86400", &["https_timeout Some(86400s)"]),
    (
        "https_timeout=99999999999999999999",
        &["https_timeout Some(86400s)", "warning F:1: key 'https_timeout' is more than a day: a day is used"],
    ),
    ("https_timeout=30s", &["F:1: key 'https_timeout' must be a whole number"]),
    // The way to Duo.
    ("http_proxy=http://me:p@w@p.example/", &["http_proxy p.example:80", "credentials me:p@w"]),
    ("http_proxy=https://p.example", &["F:1: key 'http_proxy' must be an 'http://' proxy: no other scheme is spoken"]),
    ("http_proxy=", &["warning F:1: key 'http_proxy' is empty and counts as absent"]),
    ("cafile=/etc/ssl/cert.pem", &["cafile /etc/ssl/cert.pem"]),
    ("cafile=cert.pem", &["F:1: key 'cafile' must be an absolute path"]),
    ("cafile=", &["F:1: key 'cafile' is empty"]),
    #[cfg(not(feature = "fips"))]
    ("signature=sha1", &["signature Sha1"]),
    #[cfg(feature = "fips")]
    (
        "signature=sha1",
        &["F:1: key 'signature' must be 'sha512' in this build, which has FIPS-approved algorithms alone"],
    ),
    ("signature=SHA512", &["F:1: key 'signature' must be 'sha512' or 'sha1'"]),
    // Groups.
    ("groups=a b\\ c", &["groups a|b c"]),
    ("groups=a\n  b\n\n  c,d\ngroup=e\n  f", &["groups a|b|c|d|e|f"]),
    ("groups=\n  a", &["groups a"]),
    ("groups=", &["warning F:1: key 'groups' is empty and counts as absent"]),
    ("groups=a\ngroup=", &["groups a", "warning F:2: key 'groups' is empty and counts as absent"]),
    (
        "groups=a, b",
        &["groups a|b", "warning F:1: key 'groups' has a comma with no group beside it: blanks separate pattern-lists"],
    ),
    ("groups=a\n  ,", &["F:2: key 'groups' names no group"]),
    ("groups=! a", &["F:1: key 'groups' has a '!' with no name after it"]),
    (
        "groups=!a\ngroups=!b",
        &["groups a|b", "warning F:2: key 'groups' has negated patterns only, so nobody is asked"],
    ),
    // GECOS.
    ("send_gecos=yes", &["gecos Whole"]),
    ("gecos_username_pos=2", &["gecos Part { delimiter: 44, position: 2 }"]),
    ("gecos_username_pos=1\ngecos_delim=#", &["gecos Part { delimiter: 35, position: 1 }"]),
    ("gecos_username_pos=1\ngecos_delim = ;", &["gecos Part { delimiter: 59, position: 1 }"]),
    ("gecos_username_pos=1\ngecos_delim=;\n", &["gecos Part { delimiter: 59, position: 1 }"]),
    ("gecos_delim = ; none", &["warning F:1: key 'gecos_delim' is empty and counts as absent"]),
    (
        "send_gecos=yes\ngecos_username_pos=2",
        &[
            "gecos Part { delimiter: 44, position: 2 }",
            "warning F:1: key 'send_gecos' does nothing beside 'gecos_username_pos'",
        ],
    ),
    (
        "gecos_username_pos=0\ngecos_username_pos=-1",
        &["F:1: key 'gecos_username_pos' must be 1 or more", "F:2: key 'gecos_username_pos' must be 1 or more"],
    ),
    (
        "gecos_delim=:\ngecos_delim=ab\ngecos_delim=a",
        &[
            "F:1: key 'gecos_delim' must not be ':'",
            "F:2: key 'gecos_delim' must be one punctuation character",
            "F:3: key 'gecos_delim' must be one punctuation character",
        ],
    ),
    (
        "gecos_parsed=x\ndev_fips_mode=",
        &[
            "warning F:1: key 'gecos_parsed' is deprecated and does nothing",
            "warning F:2: key 'dev_fips_mode' is deprecated and does nothing",
        ],
    ),
    // All mistakes, in the order of their lines.
    (
        "motd=x\n[x]\nprompts=\nword\nhost=@\nzz=",
        &[
            "F:1: key 'motd' must be 'yes' or 'no'",
            "F:2: unknown section 'x'",
            "F:4: a line without '='",
            "F:5: key 'host' must be a name or an address, without path, '@' or blank",
            "F:6: unknown key 'zz'",
            "warning F:3: key 'prompts' is empty and counts as absent",
        ],
    ),
];

#[test]
fn small_files() {
    for (file, expected) in TABLE {
        assert_eq!(
            told(format!("{file}{REQUIRED}").as_bytes()),
            *expected,
            "{file:?}"
        );
    }
}

#[test]
fn required_keys() {
    let missing = |names: &[&str]| {
        names
            .iter()
            .map(|name| format!("F: key '{name}' is missing"))
            .collect::<Vec<_>>()
    };
    assert_eq!(told(b""), missing(&["ikey", "skey", "host"]));
    assert_eq!(told(b"ikey=a\nhost=h"), missing(&["skey"]));
    assert_eq!(
        told(b"verified_push=1\nautopush=1\nhost=h\nskey=b"),
        [
            "F:2: key 'verified_push' cannot be used with 'autopush'",
            "F: key 'ikey' is missing"
        ]
    );
    assert_eq!(told(b"zz=\nikey=a\nskey=b")[0], "F:1: unknown key 'zz'");
    assert_eq!(
        told(b"ikey = \xff\nskey=\xff\nhost=\xff"),
        [
            "F:1: key 'ikey' is not UTF-8",
            "F:2: key 'skey' is not UTF-8",
            "F:3: key 'host' is not UTF-8",
        ]
    );
    let file = b"ikey= i#1\nskey =a;b\n[duo]\nhost = API.example:8443";
    assert_eq!(
        told(file),
        ["ikey i#1", "skey a;b", "host api.example:8443"]
    );
}

#[test]
fn bytes_that_are_not_utf8() {
    let whole = |start: &[u8]| [start, REQUIRED.as_bytes()].concat();
    assert_eq!(
        told(&whole(b"groups=\xff\ncafile=/\xfe"))[0],
        "cafile /\u{fffd}"
    );
    assert_eq!(
        told(&whole(b"# \xff\n[\xff]\n\xff=1")),
        ["F:2: unknown section", "F:3: unknown key"]
    );
}

#[test]
fn any_line_length() {
    let file = format!("groups={}x{REQUIRED}", "a,".repeat(400_000));
    assert_eq!(
        parse(file.as_bytes())
            .ok()
            .unwrap()
            .config
            .groups
            .unwrap()
            .literals()
            .count(),
        400_001
    );
}

#[test]
fn a_nul_byte_or_too_much_of_it_and_nothing_is_read() {
    assert_eq!(
        told(b"failmode=safe\nmotd=\0\n"),
        ["F:2: has a NUL byte, so nothing of the file is read"]
    );
    let long = [&b"failmode=safe\n"[..], &vec![b'\n'; MAX_SIZE]].concat();
    assert_eq!(told(&long), ["F: is longer than 1 MiB"]);
    let utf16: Vec<u8> = "failmode=safe\n"
        .bytes()
        .flat_map(|byte| [byte, 0])
        .collect();
    assert_eq!(
        told(&utf16),
        ["F:1: has a NUL byte, so nothing of the file is read"]
    );
}

#[test]
fn a_flood_of_mistakes_is_cut() {
    let start = Instant::now();
    let broken = parse("a\n".repeat(MAX_SIZE / 2).as_bytes()).err().unwrap();
    assert_eq!(broken.problems.len(), 101);
    assert_eq!(
        broken.problems[100].at(Path::new("F")),
        "F: and 524191 more of these"
    );
    assert!(start.elapsed() < Duration::from_secs(5));
}

/// What a file with a mistake says about failmode beyond doubt.
#[test]
fn the_failmode_of_a_broken_file() {
    use Failmode::{Safe, Secure};
    let table = [
        ("", None),
        ("failmode = safe", Some(Safe)),
        ("failmode = safe ; for now", Some(Safe)),
        ("[radius]\nfailmode=safe", Some(Safe)),
        ("[duo\nfailmode=safe", Some(Safe)),
        ("failmode=\n  safe", Some(Safe)),
        ("failmode=secure\n  safe", Some(Safe)),
        ("failmode=safe\n[duo]\nfailmode=safe", Some(Safe)),
        ("failmode=secure", Some(Secure)),
        ("failmode=safe\nfailmode=secure", None),
        ("failmode=secure\nfailmode=safe", None),
        ("failmode=safe\n  secure", Some(Secure)),
        ("failmode=safe\n  closed", None),
        ("failmode=safe\nfailmode=", None),
        ("failmode=safe\nfailmode=Secure", None),
        ("failmode=safe\nmotd=1\n  failmode=secure", None),
        ("failmode=safe\n[duo]\n  failmode=secure", None),
        ("motd=1\n  failmode=safe", None),
        ("  failmode=safe", None),
        ("failmode=Safe", None),
        ("failmode=Secure", None),
        ("failmode=closed", None),
        ("failmode=\"safe\"", None),
        ("failmode=safe;", None),
        ("failmode=safe # x", None),
        ("failmodes=safe", None),
        ("failmode safe", None),
        ("failmode:safe", None),
        ("Failmode=safe", None),
        ("fail mode=safe", None),
        (
            "# failmode=safe\n;failmode=safe\nmotd=1 ; failmode=safe",
            None,
        ),
    ];
    for (file, expected) in table {
        let broken = parse(format!("nonsense=1\n{file}\n").as_bytes())
            .err()
            .unwrap();
        assert_eq!(broken.failmode, expected, "{file:?}");
    }
}

/// A mistake that shows after parsing: the default is not what the file says.
#[test]
fn the_failmode_of_a_file_whose_cafile_is_broken() {
    use Failmode::{Safe, Secure};
    let table = [
        ("", Safe, Secure),
        ("failmode = safe", Safe, Safe),
        ("failmode = secure", Secure, Secure),
        ("failmode = secure\nfailmode = safe", Safe, Secure),
    ];
    for (file, failmode, if_broken) in table {
        let config = parse(format!("{file}{REQUIRED}").as_bytes())
            .ok()
            .unwrap()
            .config;
        let found = (config.failmode, config.failmode_if_broken);
        assert_eq!(found, (failmode, if_broken), "{file:?}");
    }
}

const SAMPLE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../login_duo.conf"));

const PAM_SAMPLE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../pam_duo.conf"));

/// The keys of a sample in order, each with whether it is commented out.
fn sample_keys(sample: &'static str) -> Vec<(&'static str, bool)> {
    let entries = sample
        .lines()
        .filter(|line| !line.starts_with("; ") && line.contains('='));
    let keys = entries.map(|line| {
        (
            line.split('=').next().unwrap().trim(),
            line.starts_with(';'),
        )
    });
    keys.map(|(key, is_comment)| (key.trim_start_matches(';'), is_comment))
        .collect()
}

#[test]
fn the_sample_has_each_key_once_and_no_other() {
    let mut keys = sample_keys(SAMPLE);
    for key in KEYS {
        let at = keys.iter().position(|(name, _)| *name == key.name);
        let (_, is_comment) =
            keys.remove(at.unwrap_or_else(|| panic!("{} is not in the sample", key.name)));
        assert_eq!(is_comment, key.kind != KeyKind::Required, "{}", key.name);
    }
    assert_eq!(keys, []);
}

/// The entries of both samples say the same, so that one file may serve both.
#[test]
fn the_sample_for_pam_has_keys_that_mean_something_there() {
    let entry = |line: &&str| line.trim_start_matches(';').starts_with(char::is_lowercase);
    let all: Vec<_> = SAMPLE.lines().filter(entry).collect();
    for line in PAM_SAMPLE.lines().filter(entry) {
        assert!(all.contains(&line), "{line}");
    }
    let names: Vec<_> = sample_keys(PAM_SAMPLE)
        .iter()
        .map(|(name, _)| *name)
        .collect();
    for name in ["motd", "prompt_for_commands", "accept_env_factor"] {
        assert!(!names.contains(&name), "{name}");
    }
    for name in ["ikey", "skey", "host", "failmode", "groups"] {
        assert!(names.contains(&name), "{name}");
    }
}

#[test]
fn a_sample_explains_each_key_in_two_lines_at_most() {
    for sample in [SAMPLE, PAM_SAMPLE] {
        let mut explained = 0;
        for line in sample.lines().skip_while(|line| *line != "[duo]").skip(1) {
            match line {
                "" => explained = 0,
                _ if line.starts_with("; ") => explained += 1,
                _ => assert!((1..=2).contains(&explained), "{line}"),
            }
        }
    }
}

/// With the three keys.
fn filled(sample: &str) -> String {
    let with_ikey = sample.replace("ikey =", "ikey = I");
    let with_skey = with_ikey.replace("skey =", "skey = S");
    with_skey.replace("host =", "host = h.example")
}

/// With every key that it has in a comment.
fn in_use(sample: &str) -> String {
    let lines = sample.lines().map(|line| match line.strip_prefix(';') {
        Some(entry) if !entry.starts_with(' ') => entry,
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_sample_is_read_as_it_is_meant() {
    for sample in [SAMPLE, PAM_SAMPLE] {
        assert_eq!(told(filled(sample).as_bytes()), [""; 0]);
        let required = told(sample.as_bytes()).len();
        assert_eq!(required, 3, "the three required keys are empty");
    }
    let network = [
        "http_proxy proxy.example.com:3128",
        "credentials user:password",
        "cafile /etc/ssl/certs/ca-certificates.crt",
        "gecos Part { delimiter: 44, position: 1 }",
    ];
    let login_duo = [
        "groups no-duo|admins|remote users",
        "warning F:90: key 'gecos_parsed' is deprecated and does nothing",
        "warning F:93: key 'dev_fips_mode' is deprecated and does nothing",
    ];
    let all = told(in_use(&filled(SAMPLE)).as_bytes());
    assert_eq!(all, [network.as_slice(), &login_duo].concat());
    let all = told(in_use(&filled(PAM_SAMPLE)).as_bytes());
    assert_eq!(all, [network.as_slice(), &["groups no-duo"]].concat());
}

/// A spoilt value is noticed for every key but the deprecated ones: none is forgotten by the
/// parser.
#[test]
fn every_key_is_read() {
    for key in KEYS.iter().filter(|key| key.kind != KeyKind::Deprecated) {
        let file = [key.name.as_bytes(), b"= !,\xff ,! \n", REQUIRED.as_bytes()].concat();
        let told = told(&file);
        let noticed = |name| {
            told.iter()
                .any(|line| line.starts_with(&format!("F:1: key '{name}' ")))
        };
        assert!(
            noticed(key.name) || noticed("groups") || key.name == "cafile" && noticed("cafile"),
            "{}",
            key.name
        );
    }
}

/// Places in a file where a secret key may end up, `@` standing for it.
#[rustfmt::skip]
const PLACES: &[&str] = &[
    "@",
    "@=",
    "@ = x",
    "= @",
    "  @",
    "  @ = x",
    "[@]",
    "[@",
    "[duo] @",
    "[duo]@",
    "ikey @",
    "ikey: @",
    "skey=@",
    "skey = @ # x",
    "skey=\n  @",
    "skey=\u{7}@",
    "ikey=@",
    "host=@",
    "host=@:x",
    "host=https://@",
    "host=[@]",
    "host=[::1]@",
    "host=me@@",
    "failmode=@",
    "failmode=safe\n  @",
    "groups=!\n  @",
    "groups=@,",
    "motd=@",
    "prompts=@",
    "https_timeout=@",
    "http_proxy=@@h/",
    "http_proxy=@://h",
    "http_proxy=me:@@h//",
    "http_proxy=me:@@",
    "cafile=@",
    "signature=@",
    "gecos_delim=@",
    "gecos_username_pos=@",
    "zz=@",
    "zz=1\n @",
    "gecos_parsed=@",
    "skey@",
    "skey@=",
    "key_@=x",
    "\u{feff}@",
    "\0@",
    "# @",
    "motd=yes ;@",
    "noverify=1 ;@",
];

fn secrets() -> impl Strategy<Value = String> {
    prop_oneof![
        "[A-Za-z0-9]{40}",
        "[a-z_]{33,64}",
        "[A-Z0-9]{20,40}",
        "[0-9]{16,40}"
    ]
}

proptest! {
    #[test]
    fn no_secret_is_ever_told(
        secret in secrets(),
        places in proptest::collection::vec(proptest::sample::select(PLACES), 1..6),
        end in proptest::sample::select(vec!["", REQUIRED, "\0"]),
    ) {
        let file = format!("{}\n{end}", places.join("\n").replace('@', &secret));
        let (problems, warnings) = match parse(file.as_bytes()) {
            Ok(parsed) => (Vec::new(), parsed.warnings),
            Err(broken) => {
                let debug = format!("{broken:?}");
                prop_assert!(!debug.contains(&secret));
                (broken.problems, broken.warnings)
            }
        };
        for text in problems.iter().chain(&warnings).map(|problem| problem.at(Path::new("F"))) {
            for part in secret.as_bytes().windows(12) {
                prop_assert!(!text.contains(std::str::from_utf8(part).unwrap()), "{text}");
            }
        }
    }

    #[test]
    fn any_bytes_are_read_or_told(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let start = Instant::now();
        let _ = parse(&bytes);
        prop_assert!(start.elapsed() < Duration::from_secs(1));
    }

    #[test]
    fn anything_like_a_file_is_read_or_refused_in_clean_text(file in "((ikey|skey|host|groups|prompts|failmode|http_proxy|[\\[\\]=;# \t\r!,@:\\\\\u{1b}é]|[a-z]{1,3})){0,40}(\n|\r\n|\n )?{0,40}") {
        let (problems, warnings) = match parse(file.as_bytes()) {
            Ok(parsed) => (Vec::new(), parsed.warnings),
            Err(broken) => (broken.problems, broken.warnings),
        };
        for problem in problems.iter().chain(&warnings) {
            prop_assert!(problem.text.chars().all(|c| c.is_ascii_graphic() || c == ' '), "{}", problem.text);
        }
    }
}

#[test]
fn the_keys_of_a_file_are_found_whatever_their_values_are() {
    let file = b"[duo]\n; motd = yes\nsandbox=perhaps\n  autopush = yes\nno_key = 1\nprompts = 3\n";
    let found: Vec<&str> = keys_in(file).map(|key| key.name).collect();
    assert_eq!(found, ["sandbox", "prompts"]);
}
